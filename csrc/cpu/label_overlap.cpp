#include "dinocell/label_overlap.hpp"

#include <algorithm>
#include <tuple>

#include "label_index.hpp"
#include "runs.hpp"

namespace dinocell {
namespace {

uint64_t pair_key(uint64_t truth, uint64_t predicted) { return truth << 32 | (predicted & 0xffffffffu); }

// Labels of up to 32 bits make a key of 64 as they are; longer ones are numbered first.
template <typename Label>
class PairIndex {
  public:
    size_t operator()(Label truth, Label predicted) {
        if constexpr (sizeof(Label) <= 4)
            return pairs_[pair_key(static_cast<uint32_t>(truth), static_cast<uint32_t>(predicted))];
        else
            return pairs_[pair_key(truths_[static_cast<uint64_t>(truth)],
                                   predictions_[static_cast<uint64_t>(predicted)])];
    }

  private:
    LabelIndex pairs_, truths_, predictions_;
};

}  // namespace

template <typename Label>
std::vector<LabelPair> label_overlap(const Label* truth, const Label* predicted, size_t size) {
    PairIndex<Label> index;
    std::vector<LabelPair> pairs;
    for_each_run(truth, predicted, size, [&](size_t begin, size_t end) {
        const size_t number = index(truth[begin], predicted[begin]);
        if (number == pairs.size())
            pairs.push_back({static_cast<int64_t>(truth[begin]), static_cast<int64_t>(predicted[begin]), 0});
        pairs[number].pixels += static_cast<int64_t>(end - begin);
    });
    std::sort(pairs.begin(), pairs.end(), [](const LabelPair& a, const LabelPair& b) {
        return std::tie(a.truth, a.predicted) < std::tie(b.truth, b.predicted);
    });
    return pairs;
}

template std::vector<LabelPair> label_overlap(const uint16_t*, const uint16_t*, size_t);
template std::vector<LabelPair> label_overlap(const int32_t*, const int32_t*, size_t);
template std::vector<LabelPair> label_overlap(const int64_t*, const int64_t*, size_t);

}  // namespace dinocell
