#include "dinocell/label_overlap.hpp"

#include <algorithm>
#include <atomic>

#include "pair_table.hpp"
#include "parallel.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "label_overlap.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
void count_pairs(Arguments&&... arguments) {
    DINOCELL_DISPATCH(count_pairs(arguments...))
}

}  // namespace

template <typename Label>
std::vector<LabelPair> label_overlap(const Label* truth, const Label* predicted, size_t size, size_t num_threads) {
    using Table = PairTable<std::conditional_t<sizeof(Label) <= 4, NarrowPair, WidePair>>;
    num_threads = resolve_threads(num_threads, size);
    const Bands stretches(size, num_threads);
    std::vector<Table> tables(std::max<size_t>(1, std::min(num_threads, stretches.count())));
    std::atomic<size_t> num_used{0};
    parallel_for(
        stretches.count(), num_threads, [&] { return &tables[num_used++]; },
        [&](size_t i, Table* table) { count_pairs(truth, predicted, stretches.begin(i), stretches.end(i), *table); });

    std::vector<std::vector<typename Table::Slot>> lists(tables.size());
    parallel_for(num_used, num_threads, [&](size_t i) { lists[i] = tables[i].pairs(); });
    for (size_t step = 1; step < num_used; step *= 2)
        parallel_for((num_used - 1 - step) / (2 * step) + 1, num_threads, [&](size_t i) {
            auto& list = lists[2 * step * i];
            list = merged(list, lists[2 * step * i + step]);
        });
    const auto& pairs = lists[0];
    std::vector<LabelPair> result(pairs.size());
    std::transform(pairs.begin(), pairs.end(), result.begin(), [](const auto& slot) {
        return LabelPair{slot.pair.truth(), slot.pair.predicted(), static_cast<int64_t>(slot.pixels)};
    });
    return result;
}

template std::vector<LabelPair> label_overlap(const uint16_t*, const uint16_t*, size_t, size_t);
template std::vector<LabelPair> label_overlap(const int32_t*, const int32_t*, size_t, size_t);
template std::vector<LabelPair> label_overlap(const int64_t*, const int64_t*, size_t, size_t);

}  // namespace dinocell
