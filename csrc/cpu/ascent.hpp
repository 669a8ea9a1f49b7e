// Labels by steepest ascent.
#pragma once

#include "watershed_image.hpp"

namespace dinocell {

// Every open pixel takes the number at the upper end of its way over highest neighbours: that of a marker, or of a pit,
// a maximum (of a plateau: its first pixel and others) that no marker holds. Pits are numbered after the markers, in
// raster order. Returns their pixels. The numbers of pixels, markers and pits together must fit int32.
template <typename Value>
std::vector<uint32_t> ascend(const WatershedImage<Value>& image, size_t num_markers);

}  // namespace dinocell
