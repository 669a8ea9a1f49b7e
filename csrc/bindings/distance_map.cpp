#include "dinocell/distance_map.hpp"

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Label>
Array<float> run(const Array<Label>& labels, bool normalize, bool border_is_background, size_t num_threads) {
    require(labels.ndim() == 2, "labels must be 2-D");
    Array<float> out({labels.shape(0), labels.shape(1)});
    const Label* in = labels.data();
    float* to = out.mutable_data();
    const size_t height = length(labels, 0), width = length(labels, 1);
    {
        const py::gil_scoped_release release;
        distance_map(in, height, width, to, normalize, border_is_background, num_threads);
    }
    return out;
}

template <typename Label>
void bind(py::module_& module) {
    module.def("distance_map", &run<Label>, py::arg("labels").noconvert(), py::arg("normalize"),
               py::arg("border_is_background"), py::arg("num_threads"));
}

}  // namespace

void bind_distance_map(py::module_& module) {
    bind<uint16_t>(module);
    bind<int32_t>(module);
    bind<int64_t>(module);
}

}  // namespace dinocell::bindings
