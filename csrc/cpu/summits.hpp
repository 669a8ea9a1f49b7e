// Maxima of the components of a map's mask.
#pragma once

#include <cstdint>
#include <vector>

#include "mask_components.hpp"
#include "watershed_image.hpp"

namespace dinocell {

// By component: the pixel of its only maximum, to which all its pixels lead uphill, or kSeveral; of components without
// a peak (kNone in `only_peaks`) kNone. A plateau counts as several maxima if its first pixels in rows are several.
template <typename Value>
std::vector<uint32_t> only_summits(const WatershedImage<Value>& image, const MaskComponents& mask,
                                   const std::vector<uint32_t>& only_peaks);

}  // namespace dinocell
