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

// The faces check arguments and word the errors; this is the last line before raw pointers.
inline void require(bool condition, const char* message) {
    if (!condition) throw py::value_error(message);
}

template <typename T>
size_t length(const Array<T>& array, py::ssize_t axis) {
    return static_cast<size_t>(array.shape(axis));
}

void bind_connected_components(py::module_& module);
void bind_device_emulation(py::module_& module);
void bind_distance_map(py::module_& module);
void bind_label_overlap(py::module_& module);
void bind_prominent_maxima(py::module_& module);
void bind_relabel(py::module_& module);
void bind_tiles(py::module_& module);
void bind_watershed(py::module_& module);

}  // namespace dinocell::bindings
