// The components of a map's mask: their markers, and the labels of those with one.
#pragma once

#include <cstdint>
#include <vector>

#include "mask_components.hpp"
#include "watershed_image.hpp"

namespace dinocell {

// By component of the mask: its only marker, or one of these.
constexpr uint32_t kNone = 0xffffffffu;
constexpr uint32_t kSeveral = 0xfffffffeu;

// Collects the runs of map > fill and of map > peak, bands numbered; throws std::invalid_argument for NaN.
template <typename Value>
void threshold(const WatershedImage<Value>& image, Value fill, Value peak, MaskComponents& mask,
               MaskComponents& markers);

template <typename Value>
std::vector<uint32_t> only_markers(const WatershedImage<Value>& image, const MaskComponents& mask,
                                   const MaskComponents& markers, size_t num_components);

std::vector<uint8_t> where_several(const std::vector<uint32_t>& only);

// Labels the background and components with at most one marker. The others become kOpen, and their rows open rows.
template <typename Value>
void write_fills(WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint32_t>& only);

// The same in two steps, for markers that are numbered after a look at the contested components: these become kOpen,
// and all else 0; then components with one marker are labelled.
template <typename Value>
void write_open(WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint8_t>& contested);
template <typename Value>
void write_lone(const WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint32_t>& only);

// Labels the markers of components with several.
template <typename Value>
void write_markers(const WatershedImage<Value>& image, const MaskComponents& mask, const MaskComponents& markers,
                   const std::vector<uint32_t>& only);

}  // namespace dinocell
