#include "dinocell/label_overlap.hpp"

#include <tuple>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

template <typename Label>
std::tuple<Array<int64_t>, Array<int64_t>, Array<int64_t>> run(const Array<Label>& truth, const Array<Label>& predicted,
                                                               size_t num_threads) {
    require(truth.size() == predicted.size(), "truth and predicted must have the same size");
    const Label* a = truth.data();
    const Label* b = predicted.data();
    const auto size = static_cast<size_t>(truth.size());
    std::vector<LabelPair> pairs;
    {
        const py::gil_scoped_release release;
        pairs = label_overlap(a, b, size, num_threads);
    }
    const auto count = static_cast<py::ssize_t>(pairs.size());
    Array<int64_t> truths(count), predictions(count), pixels(count);
    int64_t *to_truth = truths.mutable_data(), *to_predicted = predictions.mutable_data(),
            *to_pixels = pixels.mutable_data();
    for (const LabelPair& pair : pairs) {
        *to_truth++ = pair.truth;
        *to_predicted++ = pair.predicted;
        *to_pixels++ = pair.pixels;
    }
    return {truths, predictions, pixels};
}

template <typename Label>
void bind(py::module_& module) {
    module.def("label_overlap", &run<Label>, py::arg("truth").noconvert(), py::arg("predicted").noconvert(),
               py::arg("num_threads"));
}

}  // namespace

void bind_label_overlap(py::module_& module) {
    bind<uint16_t>(module);
    bind<int32_t>(module);
    bind<int64_t>(module);
}

}  // namespace dinocell::bindings
