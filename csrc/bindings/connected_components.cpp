#include "dinocell/connected_components.hpp"

#include <utility>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

std::pair<Array<int32_t>, size_t> run(const Array<uint8_t>& mask, int connectivity, size_t num_threads) {
    require(mask.ndim() == 2, "mask must be 2-D");
    require(connectivity == 1 || connectivity == 2, "connectivity must be 1 or 2");
    Array<int32_t> out({mask.shape(0), mask.shape(1)});
    const uint8_t* in = mask.data();
    int32_t* to = out.mutable_data();
    const size_t height = length(mask, 0), width = length(mask, 1);
    size_t count;
    {
        const py::gil_scoped_release release;
        count = connected_components(in, height, width, connectivity, to, num_threads);
    }
    return {out, count};
}

}  // namespace

void bind_connected_components(py::module_& module) {
    module.def("connected_components", &run, py::arg("mask").noconvert(), py::arg("connectivity"),
               py::arg("num_threads"));
}

}  // namespace dinocell::bindings
