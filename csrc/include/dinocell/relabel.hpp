#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell {

// Consecutive labels 1..n in raster order of first appearance; 0 stays 0.
//
// labels: `size` values, any number but 0 is a label (negative ones too). Label: uint16_t, int32_t, int64_t.
// out:    `size` values; may not overlap labels.
// num_threads: 0 lets the size decide (parallel.hpp); the result does not depend on it. Two leave the work to
//         one, being no faster.
// Returns n. Throws std::overflow_error past 2^31 - 1 labels.
// O(size) time, O(labels) memory: one table access per run of equal labels.
template <typename Label>
size_t relabel(const Label* labels, size_t size, int32_t* out, size_t num_threads);

// As relabel, but drops labels with fewer than min_size pixels and keeps the ascending order of the old labels.
template <typename Label>
size_t remove_small(const Label* labels, size_t size, size_t min_size, int32_t* out, size_t num_threads);

namespace cuda {

// The same on a GPU (cuda.hpp); counts[image] receives n. At most 2^31 - 1 pixels in all.
// Labels are 0 to num_labels; any other number becomes 0.
// scratch: relabel_scratch(images, pixels_each, num_labels) words.
template <typename Label>
void relabel(const Label* labels, size_t images, size_t pixels_each, size_t num_labels, int32_t* out, uint32_t* scratch,
             int32_t* counts, CUstream_st* stream);
template <typename Label>
void remove_small(const Label* labels, size_t images, size_t pixels_each, size_t num_labels, size_t min_size,
                  int32_t* out, uint32_t* scratch, int32_t* counts, CUstream_st* stream);
size_t relabel_scratch(size_t images, size_t pixels_each, size_t num_labels);

}  // namespace cuda
}  // namespace dinocell
