// Labels by ascent are those of a flood where a check of all neighbours says so; elsewhere they are in doubt.
#pragma once

#include <vector>

#include "mask_components.hpp"
#include "pit_levels.hpp"
#include "watershed_image.hpp"

namespace dinocell {

struct Doubt {
    size_t pixel;
    uint32_t component;  // of the mask
};

// The pixels whose label is in doubt, in the contested components of the mask. labels: basins, 0 for the background.
// pit_rows: as find_pit_rows gives them.
template <typename Value>
std::vector<Doubt> find_doubts(const WatershedImage<Value>& image, Value peak, const MaskComponents& mask,
                               const std::vector<uint8_t>& contested, const PitLevels<Value>& basins,
                               const std::vector<uint8_t>& pit_rows);

// Settles doubts one by one: a pixel takes the label of its giver, and so do those it gives its own to. Returns by
// component whether that would take too long; its labels are then of no use.
template <typename Value>
std::vector<uint8_t> settle_doubts(const WatershedImage<Value>& image, Value peak, Value fill,
                                   const std::vector<Doubt>& doubts, const PitLevels<Value>& basins,
                                   size_t num_components);

// Basins become labels.
template <typename Value>
void label_basins(const WatershedImage<Value>& image, const PitLevels<Value>& basins, const std::vector<uint8_t>& pit_rows);

}  // namespace dinocell
