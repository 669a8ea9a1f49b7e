#include "dinocell/label_overlap.hpp"

#include <tuple>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Label>
std::tuple<Array<int64_t>, Array<int64_t>, Array<int64_t>> run(const Array<Label>& truth,
                                                               const Array<Label>& predicted) {
    require(truth.size() == predicted.size(), "truth and predicted must have the same size");
    const Label* a = truth.data();
    const Label* b = predicted.data();
    const auto size = static_cast<size_t>(truth.size());
    std::vector<LabelPair> pairs;
    {
        const py::gil_scoped_release release;
        pairs = label_overlap(a, b, size);
    }
    const auto count = static_cast<py::ssize_t>(pairs.size());
    Array<int64_t> truths(count), predictions(count), pixels(count);
    for (py::ssize_t i = 0; i < count; ++i) {
        const LabelPair& pair = pairs[static_cast<size_t>(i)];
        truths.mutable_at(i) = pair.truth;
        predictions.mutable_at(i) = pair.predicted;
        pixels.mutable_at(i) = pair.pixels;
    }
    return {truths, predictions, pixels};
}

template <typename Label>
void bind(py::module_& module) {
    module.def("label_overlap", &run<Label>, py::arg("truth").noconvert(), py::arg("predicted").noconvert());
}

}  // namespace

void bind_label_overlap(py::module_& module) {
    bind<uint16_t>(module);
    bind<int32_t>(module);
    bind<int64_t>(module);
}

}  // namespace dinocell::bindings
