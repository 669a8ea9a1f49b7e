#include "dinocell/tiles.hpp"

#include <string>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Pixel, typename Out>
void run_gather(const Array<Pixel>& image, const Array<int64_t>& ys, const Array<int64_t>& xs,
                const Array<float>& scale, const Array<float>& offset, float low, float high, Array<Out>& out,
                size_t num_threads) {
    require(image.ndim() == 3 && ys.ndim() == 1 && xs.ndim() == 1 && scale.ndim() == 1 && offset.ndim() == 1,
            "image must be 3-D, ys, xs, scale and offset 1-D");
    const size_t channels = length(image, 0), height = length(image, 1), width = length(image, 2);
    require(height > 0 && width > 0, "image must hold pixels");
    require(length(scale, 0) == channels && length(offset, 0) == channels, "scale and offset need one value a channel");
    require(out.ndim() == 5 && length(out, 0) == length(ys, 0) && length(out, 1) == length(xs, 0) &&
                length(out, 2) == channels && length(out, 3) == length(out, 4),
            "out must be [ys, xs, channels, tile, tile]");
    const Pixel* in = image.data();
    const int64_t *rows = ys.data(), *columns = xs.data();
    const size_t num_ys = length(ys, 0), num_xs = length(xs, 0), tile = length(out, 3);
    const float *factor = scale.data(), *shift = offset.data();
    Out* to = out.mutable_data();
    const py::gil_scoped_release release;
    gather_tiles(in, channels, height, width, rows, num_ys, columns, num_xs, tile, factor, shift, low, high, to,
                 num_threads);
}

void run_blend(const Array<float>& tiles, const Array<int64_t>& ys, const Array<int64_t>& xs, size_t overlap,
               int64_t row_begin, Array<float>& out, size_t num_threads) {
    require(tiles.ndim() == 4 && ys.ndim() == 1 && xs.ndim() == 1 && out.ndim() == 2,
            "tiles must be 4-D, ys and xs 1-D, out 2-D");
    const size_t num_ys = length(ys, 0), num_xs = length(xs, 0), tile = length(tiles, 2);
    require(length(tiles, 0) == num_ys && length(tiles, 1) == num_xs && length(tiles, 3) == tile,
            "tiles must be [ys, xs, tile, tile]");
    require(overlap <= tile / 2, "overlap must be at most half a tile");
    const float* in = tiles.data();
    const int64_t *rows = ys.data(), *columns = xs.data();
    const int64_t row_end = row_begin + out.shape(0);
    const size_t width = length(out, 1);
    float* to = out.mutable_data();
    const py::gil_scoped_release release;
    blend_tiles(in, num_ys, num_xs, tile, rows, columns, overlap, row_begin, row_end, width, to, num_threads);
}

Array<float> run_weights(const Array<int64_t>& starts, size_t tile, size_t overlap, int64_t begin, int64_t end,
                         const std::string& axis) {
    require(starts.ndim() == 1 && begin <= end && overlap <= tile / 2, "starts must be 1-D, begin <= end");
    Array<float> out({starts.shape(0), static_cast<py::ssize_t>(tile)});
    blend_weights(starts.data(), length(starts, 0), tile, overlap, begin, end, axis.c_str(), out.mutable_data());
    return out;
}

template <typename Pixel, typename Out>
void bind_gather(py::module_& module) {
    module.def("gather_tiles", &run_gather<Pixel, Out>, py::arg("image").noconvert(), py::arg("ys").noconvert(),
               py::arg("xs").noconvert(), py::arg("scale").noconvert(), py::arg("offset").noconvert(), py::arg("low"),
               py::arg("high"), py::arg("out").noconvert(), py::arg("num_threads"));
}

}  // namespace

void bind_tiles(py::module_& module) {
    bind_gather<uint8_t, float>(module);
    bind_gather<uint8_t, uint16_t>(module);
    bind_gather<uint16_t, float>(module);
    bind_gather<uint16_t, uint16_t>(module);
    bind_gather<float, float>(module);
    bind_gather<float, uint16_t>(module);
    module.def("blend_tiles", &run_blend, py::arg("tiles").noconvert(), py::arg("ys").noconvert(),
               py::arg("xs").noconvert(), py::arg("overlap"), py::arg("row_begin"), py::arg("out").noconvert(),
               py::arg("num_threads"));
    module.def("blend_weights", &run_weights, py::arg("starts").noconvert(), py::arg("tile"), py::arg("overlap"),
               py::arg("begin"), py::arg("end"), py::arg("axis"));
}

}  // namespace dinocell::bindings
