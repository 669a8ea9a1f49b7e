// Where basins touch.
#pragma once

#include <vector>

#include "pit_levels.hpp"
#include "watershed_image.hpp"

namespace dinocell {

// By row: whether it has pixels of pits, whose numbers come after those of the markers.
template <typename Value>
std::vector<uint8_t> find_pit_rows(const WatershedImage<Value>& image, size_t num_markers);

// The passes between pits and what they touch, from the highest to the lowest. labels: basins, 0 for the background.
template <typename Value>
std::vector<Pass<Value>> find_passes(const WatershedImage<Value>& image, size_t num_markers,
                                     const std::vector<uint8_t>& pit_rows);

}  // namespace dinocell
