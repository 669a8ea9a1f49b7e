// The device algorithms of cuda/, run thread by thread on this CPU, for the tests: slow, and never used by the faces.
#include <string>

#include "bindings.hpp"
#include "connected_components_kernels.hpp"
#include "distance_map_kernels.hpp"
#include "relabel_kernels.hpp"
#include "starts.hpp"

namespace dinocell::bindings {
namespace {

template <typename Pixel>
Array<float> emulated_gather(const Array<Pixel>& image, const Array<int64_t>& ys, const Array<int64_t>& xs, size_t tile,
                             const Array<float>& scale, const Array<float>& offset, float low, float high) {
    const size_t channels = length(image, 0);
    Array<float> out({ys.shape(0), xs.shape(0), image.shape(0), static_cast<py::ssize_t>(tile),
                      static_cast<py::ssize_t>(tile)});
    const device::Gather<Pixel, float> kernel{image.data(),
                                              image.shape(1),
                                              image.shape(2),
                                              static_cast<uint32_t>(channels),
                                              static_cast<uint32_t>(tile),
                                              scale.data(),
                                              offset.data(),
                                              low,
                                              high,
                                              out.mutable_data(),
                                              device::starts_of(ys.data(), length(ys, 0), "ys"),
                                              device::starts_of(xs.data(), length(xs, 0), "xs")};
    device::Emulator{}("tiles", kernel);
    return out;
}

Array<float> emulated_blend(const Array<float>& tiles, const Array<int64_t>& ys, const Array<int64_t>& xs,
                            size_t overlap, int64_t row_begin, int64_t row_end, size_t width) {
    Array<float> out({static_cast<py::ssize_t>(row_end - row_begin), static_cast<py::ssize_t>(width)});
    const device::Blend<float> kernel{tiles.data(),
                                      static_cast<uint32_t>(length(tiles, 2)),
                                      static_cast<uint32_t>(overlap),
                                      row_begin,
                                      static_cast<uint64_t>(row_end - row_begin),
                                      width,
                                      out.mutable_data(),
                                      device::starts_of(ys.data(), length(ys, 0), "ys"),
                                      device::starts_of(xs.data(), length(xs, 0), "xs")};
    device::Emulator{}("tiles", kernel);
    return out;
}

template <typename Label>
Array<float> emulated_distance_map(const Array<Label>& labels, size_t num_labels, bool normalize,
                                   bool border_is_background) {
    const size_t height = length(labels, 0), width = length(labels, 1);
    std::vector<uint16_t> runs(height * width);
    std::vector<uint32_t> squares(height * width), maxima(num_labels + 1);
    Array<float> out({labels.shape(0), labels.shape(1)});
    device::distance_map(labels.data(), height, width, num_labels, border_is_background, out.mutable_data(),
                         runs.data(), squares.data(), normalize ? maxima.data() : nullptr, device::Emulator{});
    return out;
}

Array<int32_t> emulated_components(const Array<uint8_t>& mask, int connectivity, Array<int32_t>& count) {
    const size_t height = length(mask, 0), width = length(mask, 1);
    std::vector<uint32_t> scratch(device::components_scratch(height * width));
    Array<int32_t> out({mask.shape(0), mask.shape(1)});
    device::connected_components(mask.data(), height, width, connectivity, out.mutable_data(), scratch.data(),
                                 count.mutable_data(), device::Emulator{});
    return out;
}

template <typename Label>
Array<int32_t> emulated_relabel(const Array<Label>& labels, size_t num_labels, Array<int32_t>& count) {
    const auto size = static_cast<size_t>(labels.size());
    std::vector<uint32_t> scratch(device::relabel_scratch(size, num_labels));
    Array<int32_t> out(labels.size());
    device::relabel(labels.data(), size, num_labels, out.mutable_data(), scratch.data(), count.mutable_data(),
                    device::Emulator{});
    return out;
}

template <typename Label>
Array<int32_t> emulated_remove_small(const Array<Label>& labels, size_t num_labels, size_t min_size,
                                     Array<int32_t>& count) {
    const auto size = static_cast<size_t>(labels.size());
    std::vector<uint32_t> scratch(device::relabel_scratch(size, num_labels));
    Array<int32_t> out(labels.size());
    device::remove_small(labels.data(), size, num_labels, min_size, out.mutable_data(), scratch.data(),
                         count.mutable_data(), device::Emulator{});
    return out;
}

template <typename Pixel>
void bind_emulated_gather(py::module_& module) {
    module.def("gather_tiles", &emulated_gather<Pixel>, py::arg("image").noconvert(), py::arg("ys").noconvert(),
               py::arg("xs").noconvert(), py::arg("tile"), py::arg("scale").noconvert(), py::arg("offset").noconvert(),
               py::arg("low"), py::arg("high"));
}

template <typename Label>
void bind_emulated_distance_map(py::module_& module) {
    module.def("distance_map", &emulated_distance_map<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("normalize"), py::arg("border_is_background"));
}

template <typename Label>
void bind_emulated_relabel(py::module_& module) {
    module.def("relabel", &emulated_relabel<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("count").noconvert());
    module.def("remove_small", &emulated_remove_small<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("min_size"), py::arg("count").noconvert());
}

}  // namespace

void bind_device_emulation(py::module_& module) {
    py::module_ emulation = module.def_submodule("device_emulation", "Device algorithms on the CPU, for tests.");
    bind_emulated_gather<uint8_t>(emulation);
    bind_emulated_gather<uint16_t>(emulation);
    bind_emulated_gather<float>(emulation);
    emulation.def("blend_tiles", &emulated_blend, py::arg("tiles").noconvert(), py::arg("ys").noconvert(),
                  py::arg("xs").noconvert(), py::arg("overlap"), py::arg("row_begin"), py::arg("row_end"),
                  py::arg("width"));
    emulation.def("connected_components", &emulated_components, py::arg("mask").noconvert(), py::arg("connectivity"),
                  py::arg("count").noconvert());
    bind_emulated_relabel<uint16_t>(emulation);
    bind_emulated_relabel<int32_t>(emulation);
    bind_emulated_relabel<int64_t>(emulation);
    bind_emulated_distance_map<uint16_t>(emulation);
    bind_emulated_distance_map<int32_t>(emulation);
    bind_emulated_distance_map<int64_t>(emulation);
}

}  // namespace dinocell::bindings
