#include "dinocell/watershed.hpp"

#include <optional>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Value>
Array<int32_t> run(const Array<Value>& map, double peak, double fill, double prominence, size_t num_threads) {
    require(map.ndim() == 2, "distance_map must be 2-D");
    require(peak >= fill, "peak must be at least fill");
    Array<int32_t> out({map.shape(0), map.shape(1)});
    const Value* in = map.data();
    int32_t* to = out.mutable_data();
    const size_t height = length(map, 0), width = length(map, 1);
    {
        const py::gil_scoped_release release;
        watershed(in, height, width, peak, fill, prominence, to, num_threads);
    }
    return out;
}

// `labels` holds the markers and becomes the result.
template <typename Value, typename Kernel>
void run_on_markers(const Kernel& kernel, const Array<Value>& image, Array<int32_t>& labels,
                    const std::optional<Array<uint8_t>>& mask, int connectivity) {
    require(image.ndim() == 2 && labels.ndim() == 2 && (!mask || mask->ndim() == 2), "arrays must be 2-D");
    const size_t height = length(image, 0), width = length(image, 1);
    require(length(labels, 0) == height && length(labels, 1) == width, "markers must have the image's shape");
    require(!mask || (length(*mask, 0) == height && length(*mask, 1) == width), "mask must have the image's shape");
    require(connectivity == 1 || connectivity == 2, "connectivity must be 1 or 2");
    const Value* in = image.data();
    int32_t* to = labels.mutable_data();
    const uint8_t* inside = mask ? mask->data() : nullptr;
    const py::gil_scoped_release release;
    kernel(in, height, width, to, inside, connectivity);
}

template <typename Value>
void run_markers(const Array<Value>& image, Array<int32_t>& labels, const std::optional<Array<uint8_t>>& mask,
                 int connectivity, size_t num_threads) {
    const auto kernel = [num_threads](auto... arguments) { marker_watershed<Value>(arguments..., num_threads); };
    run_on_markers(kernel, image, labels, mask, connectivity);
}

void run_heap(const Array<double>& image, Array<int32_t>& labels, const std::optional<Array<uint8_t>>& mask,
              int connectivity) {
    run_on_markers(&heap_watershed, image, labels, mask, connectivity);
}

}  // namespace

void bind_watershed(py::module_& module) {
    module.def("watershed", &run<float>, py::arg("distance_map").noconvert(), py::arg("peak"), py::arg("fill"),
               py::arg("prominence"), py::arg("num_threads"));
    module.def("watershed", &run<double>, py::arg("distance_map").noconvert(), py::arg("peak"), py::arg("fill"),
               py::arg("prominence"), py::arg("num_threads"));
    module.def("marker_watershed", &run_markers<float>, py::arg("image").noconvert(), py::arg("labels").noconvert(),
               py::arg("mask").noconvert(), py::arg("connectivity"), py::arg("num_threads"));
    module.def("marker_watershed", &run_markers<double>, py::arg("image").noconvert(), py::arg("labels").noconvert(),
               py::arg("mask").noconvert(), py::arg("connectivity"), py::arg("num_threads"));
    module.def("marker_watershed", &run_markers<int64_t>, py::arg("image").noconvert(), py::arg("labels").noconvert(),
               py::arg("mask").noconvert(), py::arg("connectivity"), py::arg("num_threads"));
    module.def("heap_watershed", &run_heap, py::arg("image").noconvert(), py::arg("labels").noconvert(),
               py::arg("mask").noconvert(), py::arg("connectivity"));
}

}  // namespace dinocell::bindings
