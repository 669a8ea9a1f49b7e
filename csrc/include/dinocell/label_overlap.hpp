#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dinocell/cuda.hpp"

namespace dinocell {

struct LabelPair {
    int64_t truth, predicted, pixels;
};

// How many pixels each pair of labels shares: one entry per pair that occurs, background (0) included, sorted by
// (truth, predicted).
//
// truth, predicted: `size` values each, any integers. Label: uint16_t, int32_t, int64_t.
// num_threads: 0 lets the size decide (parallel.hpp).
// O(size) time: one table access per stretch in which both are constant; O(pairs) memory for each thread.
template <typename Label>
std::vector<LabelPair> label_overlap(const Label* truth, const Label* predicted, size_t size, size_t num_threads);

namespace cuda {

// The same on a GPU (cuda.hpp), of one image of any shape. At most 2^31 - 1 pixels; labels within 32 bits in all types.
//
// capacity: slots of the table, a power of two; twice the pairs that occur is plenty.
// pairs, counts: capacity + 1 values each. The first status[0] of them, in no order, are the pairs as keys (truth, then
//         predicted, 32 bits each with the sign flipped, so that sorting keys sorts pairs) and their pixels.
// status: two numbers. status[1] is not 0 if the table was too small: then nothing else counts; double the capacity.
// scratch: label_overlap_scratch(capacity) words of 4 bytes.
template <typename Label>
void label_overlap(const Label* truth, const Label* predicted, size_t size, size_t capacity, uint64_t* pairs,
                   int64_t* counts, uint64_t* scratch, int32_t* status, CUstream_st* stream);
size_t label_overlap_scratch(size_t capacity);

}  // namespace cuda
}  // namespace dinocell
