#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell {

// Canonical order of both functions: pixels are taken by (value, age), where a pixel's value is the larger of its own
// and that of the pixel it was reached from, and its age says when it was reached; markers are older than all other
// pixels and among themselves stand in raster order. A pixel taken gives its label to its free neighbours in the
// order up, left, right, down (then up-left, up-right, down-left, down-right). This is the rule of
// skimage.segmentation.watershed since 0.25, which leaves only the order of equal-valued markers to chance.
// Values must not be NaN. -0.0 equals 0.0.
// O(n * value bits) worst case, near O(n) in practice: values taken never fall, so a radix heap serves as the queue
// (Ahuja, Mehlhorn, Orlin & Tarjan 1990) and its buckets keep ages in order by themselves.

// Instances of a distance map: markers are the 4-connected components of map > peak, the mask is map > fill, and
// -map is flooded with 4-neighbours.
//
// prominence: negative for these markers; otherwise markers are the pixels of prominent_maxima().
// map: [height, width] row-major float or double. out: [height, width] labels 1..n in raster order of the markers'
//      first pixels, 0 outside the mask and where no marker reaches.
// Thresholds are rounded to the map's type. fill <= peak.
// num_threads: 0 = one below half a megapixel, else all cores; mask components are independent, so the result does
//      not depend on it.
// Throws std::invalid_argument if the map holds NaN, std::overflow_error for more than 2^31 - 3 pixels by prominence.
template <typename Value>
void watershed(const Value* map, size_t height, size_t width, double peak, double fill, double prominence, int32_t* out,
               size_t num_threads);

// Floods `image` upwards from `labels` inside `mask`.
//
// image:  [height, width] row-major float, double or int64_t.
// labels: in: markers, nonzero values (negative ones too); out: the result. Markers outside the mask vanish.
// mask:   [height, width], nonzero = inside, or nullptr for everywhere.
// connectivity: 1 = four neighbours, 2 = eight.
// num_threads: 0 = one below half a megapixel, else all cores, which share the connected parts of the mask; without a
//         mask there is nothing to share. The result does not depend on it.
template <typename Value>
void marker_watershed(const Value* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                      int connectivity, size_t num_threads);

// As marker_watershed, but among markers of equal value in the order that the heap of skimage.segmentation.watershed
// (0.25 to 0.26) happens to give them, which depends on the whole image: equal to it pixel by pixel, for any input.
// O(n log n).
void heap_watershed(const double* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                    int connectivity);

namespace cuda {

// Instances of distance maps on a GPU (cuda.hpp). At most 2^31 - 1 pixels in all.
//
// prominence: negative for the markers of watershed(); otherwise markers are those of prominent_maxima() and are
// flooded
//         as marker_watershed() floods -map.
// out:    labels, those of the CPU bit for bit, in all components of the mask where they follow from the heights alone.
//         Where equal heights leave them open, ~marker: pixels below 0 are still to be flooded from the markers ~out >
//         0.
// status: [3, images]: markers, components left open, and whether the map holds NaN (then nothing else counts).
// scratch: watershed_scratch(images, height, width, prominence >= 0) words of 8 bytes, 34 bytes for each pixel, or 43.
//
// O(n) work for all but the joins of basins, which take as many rounds over the seams between them as passes rise
// against the height of their summits: few in images of cells.
void watershed(const float* map, size_t images, size_t height, size_t width, float peak, float fill, float prominence,
               int32_t* out, uint64_t* scratch, int32_t* status, CUstream_st* stream);
size_t watershed_scratch(size_t images, size_t height, size_t width, bool by_prominence);

}  // namespace cuda
}  // namespace dinocell
