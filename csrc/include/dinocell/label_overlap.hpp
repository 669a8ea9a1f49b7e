#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dinocell {

struct LabelPair {
    int64_t truth, predicted, pixels;
};

// How many pixels each pair of labels shares: one entry per pair that occurs, background (0) included, sorted by
// (truth, predicted).
//
// truth, predicted: `size` values each, any integers. Label: uint16_t, int32_t, int64_t.
// O(size) time: one table access per stretch in which both are constant; O(pairs) memory.
template <typename Label>
std::vector<LabelPair> label_overlap(const Label* truth, const Label* predicted, size_t size);

}  // namespace dinocell
