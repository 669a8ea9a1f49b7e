#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell {

// Exact Euclidean distance of every pixel to the nearest pixel that is not of its own label, in pixels;
// with `normalize`, divided by the largest such distance of its label.
//
// labels: [height, width] row-major, 0 = background, all others positive. Label: uint16_t, int32_t, int64_t.
// out:    [height, width] float32; may not overlap labels. Background is 0.
// border_is_background: whether pixels outside the image count as background. A label that fills the whole image has
//         no other edge, so for it they always do.
// num_threads: 0 = one below half a megapixel, else all cores. The result does not depend on it.
//
// A pixel's value is float32(sqrt(d2)) / float32(sqrt(largest d2 of its label)) with d2 the exact integer squared
// distance. Fragments of one label share one maximum. Pixels of other labels are background to a label.
// Throws std::invalid_argument if a label is negative.
//
// O(height * width) time and memory (2 bytes per pixel of scratch), whatever the number and size of the labels.
// Method: distance along the column inside the label, then per row the lower envelope of parabolas
// (Meijster, Roerdink & Hesselink 2000; Felzenszwalb & Huttenlocher 2012), replaced by a bounded min-plus search where
// distances are small.
template <typename Label>
void distance_map(const Label* labels, size_t height, size_t width, float* out, bool normalize,
                  bool border_is_background, size_t num_threads);

namespace cuda {

// The same on a GPU (cuda.hpp), with the same bits.
//
// Height and width: at most 65,534, and the diagonal below 65,536. Label: uint16_t, int32_t, int64_t.
// runs: scratch, as many as pixels. maxima: scratch, num_labels + 1 for each image; null leaves distances in pixels.
// A label that is negative, or above num_labels where maxima are given, becomes NaN.
// O(pixels * radius) work: right for cells, slow for regions thousands of pixels wide.
template <typename Label>
void distance_map(const Label* labels, size_t images, size_t height, size_t width, size_t num_labels,
                  bool border_is_background, float* out, uint16_t* runs, uint32_t* maxima, CUstream_st* stream);

}  // namespace cuda
}  // namespace dinocell
