#include "dinocell/relabel.hpp"

#include <utility>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Label>
std::pair<Array<int32_t>, size_t> run_relabel(const Array<Label>& labels, size_t num_threads) {
    Array<int32_t> out(std::vector<py::ssize_t>(labels.shape(), labels.shape() + labels.ndim()));
    const Label* in = labels.data();
    int32_t* to = out.mutable_data();
    const auto size = static_cast<size_t>(labels.size());
    size_t count;
    {
        const py::gil_scoped_release release;
        count = relabel(in, size, to, num_threads);
    }
    return {out, count};
}

template <typename Label>
std::pair<Array<int32_t>, size_t> run_remove_small(const Array<Label>& labels, size_t min_size, size_t num_threads) {
    Array<int32_t> out(std::vector<py::ssize_t>(labels.shape(), labels.shape() + labels.ndim()));
    const Label* in = labels.data();
    int32_t* to = out.mutable_data();
    const auto size = static_cast<size_t>(labels.size());
    size_t count;
    {
        const py::gil_scoped_release release;
        count = remove_small(in, size, min_size, to, num_threads);
    }
    return {out, count};
}

template <typename Label>
void bind(py::module_& module) {
    module.def("relabel", &run_relabel<Label>, py::arg("labels").noconvert(), py::arg("num_threads"));
    module.def("remove_small", &run_remove_small<Label>, py::arg("labels").noconvert(), py::arg("min_size"),
               py::arg("num_threads"));
}

}  // namespace

void bind_relabel(py::module_& module) {
    bind<uint16_t>(module);
    bind<int32_t>(module);
    bind<int64_t>(module);
}

}  // namespace dinocell::bindings
