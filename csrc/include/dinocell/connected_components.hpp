#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell {

// Labels 1..n of the connected parts of a mask, numbered by their first pixel in raster order.
//
// mask: [height, width] row-major, nonzero = foreground.
// out:  [height, width]; may not overlap mask. Background is 0.
// connectivity: 1 = the four neighbours that share a side, 2 = the eight that share a side or a corner.
// num_threads: 0 = one below half a megapixel, else all cores. The result does not depend on it.
// Returns n. Throws std::overflow_error past 2^31 - 1 components.
//
// O(height * width) time; memory grows with the number of runs. Method: union-find over runs, two passes
// (He, Chao & Suzuki 2008).
size_t connected_components(const uint8_t* mask, size_t height, size_t width, int connectivity, int32_t* out,
                            size_t num_threads);

namespace cuda {

// The same on a GPU (cuda.hpp); counts[image] receives n. At most 2^31 - 1 pixels in all.
// scratch: connected_components_scratch(images, height, width) words.
void connected_components(const uint8_t* mask, size_t images, size_t height, size_t width, int connectivity,
                          int32_t* out, uint32_t* scratch, int32_t* counts, CUstream_st* stream);
size_t connected_components_scratch(size_t images, size_t height, size_t width);

}  // namespace cuda
}  // namespace dinocell
