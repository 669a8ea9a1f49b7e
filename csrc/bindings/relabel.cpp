#include "dinocell/relabel.hpp"

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Label>
size_t run_relabel(const Array<Label>& labels, Array<int32_t>& out, size_t num_threads) {
    require(labels.size() == out.size(), "out must have the size of labels");
    const Label* in = labels.data();
    int32_t* to = out.mutable_data();
    const auto size = static_cast<size_t>(labels.size());
    const py::gil_scoped_release release;
    return relabel(in, size, to, num_threads);
}

template <typename Label>
size_t run_remove_small(const Array<Label>& labels, size_t min_size, Array<int32_t>& out, size_t num_threads) {
    require(labels.size() == out.size(), "out must have the size of labels");
    const Label* in = labels.data();
    int32_t* to = out.mutable_data();
    const auto size = static_cast<size_t>(labels.size());
    const py::gil_scoped_release release;
    return remove_small(in, size, min_size, to, num_threads);
}

template <typename Label>
void bind(py::module_& module) {
    module.def("relabel", &run_relabel<Label>, py::arg("labels").noconvert(), py::arg("out").noconvert(),
               py::arg("num_threads"));
    module.def("remove_small", &run_remove_small<Label>, py::arg("labels").noconvert(), py::arg("min_size"),
               py::arg("out").noconvert(), py::arg("num_threads"));
}

}  // namespace

void bind_relabel(py::module_& module) {
    bind<uint16_t>(module);
    bind<int32_t>(module);
    bind<int64_t>(module);
}

}  // namespace dinocell::bindings
