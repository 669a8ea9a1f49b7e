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
std::vector<Doubt> find_doubts(const WatershedImage<Value>& image, const Markers<Value>& markers,
                               const MaskComponents& mask, const std::vector<uint8_t>& contested,
                               const PitLevels<Value>& basins, const std::vector<uint8_t>& pit_rows);

// Settles doubts one by one: a pixel takes the label of its giver, and so do those it gives its own to. Returns by
// component whether that would take too long; its labels are then of no use.
template <typename Value>
std::vector<uint8_t> settle_doubts(const WatershedImage<Value>& image, const Markers<Value>& markers, Value fill,
                                   const std::vector<Doubt>& doubts, const PitLevels<Value>& basins,
                                   size_t num_components);

// Each basin of the chosen rows gets the number that `numbers` has for it.
template <typename Value>
void rename_basins(const WatershedImage<Value>& image, const std::vector<int32_t>& numbers,
                   const std::vector<uint8_t>& rows);

}  // namespace dinocell
