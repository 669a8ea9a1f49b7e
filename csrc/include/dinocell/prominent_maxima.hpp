#pragma once

#include <cstddef>
#include <cstdint>

namespace dinocell {

// Marks the maxima of a distance map that stand out: one marker pixel for each.
//
// A maximum is a pixel above `peak`; its prominence is its value minus that of the pass, the highest level at which a
// 4-connected path inside map > fill leads from it to a higher maximum (an equal one earlier in raster order counts as
// higher). Maxima with prominence >= `prominence` are kept, and so is the highest maximum of each mask component, which
// has no pass. These are the maxima that the h-maxima transform keeps (Soille 2003, 6.3.5), but for ties.
//
// map: [height, width] row-major float or double. out: [height, width]; marker pixels 1..n in raster order, else 0.
// Differences are taken in the map's type. fill <= peak, prominence >= 0.
// Returns n. Throws std::invalid_argument if the map holds NaN.
// One pass over the mask's pixels by falling value with a union-find (the merge tree of the map): O(m log m) for m
// pixels above fill, 16 bytes of memory for each and 4 for each pixel of the image.
template <typename Value>
size_t prominent_maxima(const Value* map, size_t height, size_t width, double peak, double fill, double prominence,
                        int32_t* out);

}  // namespace dinocell
