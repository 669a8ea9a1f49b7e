#include "dinocell/prominent_maxima.hpp"

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Value>
py::tuple run(const Array<Value>& map, double peak, double fill, double prominence) {
    require(map.ndim() == 2, "distance_map must be 2-D");
    Array<int32_t> out({map.shape(0), map.shape(1)});
    const Value* in = map.data();
    int32_t* to = out.mutable_data();
    const size_t height = length(map, 0), width = length(map, 1);
    size_t count = 0;
    {
        const py::gil_scoped_release release;
        count = prominent_maxima(in, height, width, peak, fill, prominence, to);
    }
    return py::make_tuple(out, count);
}

}  // namespace

void bind_prominent_maxima(py::module_& module) {
    module.def("prominent_maxima", &run<float>, py::arg("distance_map").noconvert(), py::arg("peak"), py::arg("fill"),
               py::arg("prominence"));
    module.def("prominent_maxima", &run<double>, py::arg("distance_map").noconvert(), py::arg("peak"), py::arg("fill"),
               py::arg("prominence"));
}

}  // namespace dinocell::bindings
