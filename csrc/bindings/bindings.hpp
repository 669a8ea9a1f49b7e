// What the bindings share: array types that pybind11 may not convert, and one registration function per kernel.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace dinocell::bindings {

namespace py = pybind11;

// Row-major and exactly of type T; registered with .noconvert(), so anything else is a TypeError.
template <typename T>
using Array = py::array_t<T, py::array::c_style>;

void bind_distance_map(py::module_& module);
void bind_relabel(py::module_& module);

}  // namespace dinocell::bindings
