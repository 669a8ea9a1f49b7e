// Method: thresholds and components as runs; components of the mask with one marker are filled. In the others every
// pixel takes its label from its highest neighbour (steepest ascent of the map, so descent of the flooded -map). Then
// labels are checked: the flood takes pixels by falling level, where the level of a pixel is its own value, or if it
// lies in a pit (a regional maximum without marker) at most the level at which the flood enters the pit. So a pixel is
// labelled by one of its highest neighbours by level. If in a component all of these carry the label the pixel has,
// the labels are those of the flood, whatever the order among equals (induction over the order of labelling).
// Where a few pixels fail, the order of their neighbours is found from the levels around them (label_doubts.hpp,
// flood_order.hpp); components with many such pixels are flooded pixel by pixel.
#include "dinocell/watershed.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <vector>

#include "ascent.hpp"
#include "component_fills.hpp"
#include "component_flood.hpp"
#include "label_doubts.hpp"
#include "parallel.hpp"
#include "pit_levels.hpp"
#include "pit_passes.hpp"
#include "prominence.hpp"
#include "summits.hpp"
#include "watershed_image.hpp"

namespace dinocell {
namespace {

// Components of one pixel each, which are no neighbours.
template <typename Value>
MaskComponents single_pixels(const WatershedImage<Value>& image, const std::vector<uint32_t>& pixels) {
    MaskComponents components(1, image.bands);
    std::vector<uint32_t> edges;
    auto next = pixels.begin();
    for (size_t band = 0; band < image.bands.count(); ++band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            edges.clear();
            for (; next != pixels.end() && *next / image.width == y; ++next) {
                const auto x = static_cast<uint32_t>(*next % image.width);
                edges.insert(edges.end(), {x, x + 1});
            }
            components.band(band).add_row(edges.data(), edges.size());
        }
        components.band(band).number();
    }
    components.number(1);
    return components;
}

// The components in which markers meet: basins become labels.
template <typename Value>
void settle(const WatershedImage<Value>& image, Value fill, const Markers<Value>& markers, const MaskComponents& mask,
            const MaskComponents& marker_components, const std::vector<uint8_t>& contested,
            const PitLevels<Value>& basins, const std::vector<uint8_t>& pit_rows) {
    const std::vector<Doubt> doubts = find_doubts(image, markers, mask, contested, basins, pit_rows);
    const std::vector<uint8_t> unsettled = settle_doubts(image, markers, fill, doubts, basins, contested.size());
    rename_basins(image, basins.labels(), pit_rows);
    flood_components(image, mask, marker_components, unsettled);
}

// Pointers and the numbers of pits must fit beside the labels.
template <typename Value>
bool countable(const WatershedImage<Value>& image, size_t num_markers) {
    return image.height * image.width + num_markers < static_cast<size_t>(std::numeric_limits<int32_t>::max()) - 1;
}

template <typename Value>
void flood_from_peaks(WatershedImage<Value>& image, Value peak, Value fill, const MaskComponents& mask,
                      const MaskComponents& markers, size_t num_markers, const std::vector<uint32_t>& only) {
    write_fills(image, mask, only);
    write_markers(image, mask, markers, only);
    const std::vector<uint8_t> contested = where_several(only);
    if (std::find(contested.begin(), contested.end(), 1) == contested.end()) return;
    if (!countable(image, num_markers)) return flood_components(image, mask, markers, contested);
    const size_t num_pits = ascend(image, num_markers).size();
    const std::vector<uint8_t> pit_rows = find_pit_rows(image, num_markers);
    const PitLevels<Value> basins(num_markers, num_pits, find_passes(image, num_markers, pit_rows));
    settle(image, fill, Markers<Value>{peak, {}}, mask, markers, contested, basins, pit_rows);
}

// Every maximum begins as a pit; those that stand out become markers.
template <typename Value>
void flood_from_summits(WatershedImage<Value>& image, Value peak, Value fill, Value prominence,
                        const MaskComponents& mask, const std::vector<uint32_t>& only_peaks) {
    if (!countable(image, 0)) throw std::overflow_error("image has more than 2147483645 pixels");
    std::vector<uint32_t> only = only_summits(image, mask, only_peaks), lone;
    std::copy_if(only.begin(), only.end(), std::back_inserter(lone), [](uint32_t summit) { return summit < kSeveral; });
    std::sort(lone.begin(), lone.end());
    const std::vector<uint8_t> contested = where_several(only);

    write_open(image, mask, contested);
    const std::vector<uint32_t> summits = ascend(image, 0);
    std::vector<Pass<Value>> passes = find_passes(image, 0, image.open_rows);
    const Prominence<Value> found(image.map, summits, lone, passes, peak, prominence);
    const std::vector<int32_t>& numbers = found.numbers();
    for (Pass<Value>& pass : passes) {
        pass.a = static_cast<uint32_t>(numbers[pass.a]);
        pass.b = static_cast<uint32_t>(numbers[pass.b]);
    }
    const Markers<Value> markers{peak, found.markers()};
    const size_t num_markers = markers.summits.size();
    rename_basins(image, numbers, image.open_rows);
    const std::vector<uint8_t> pit_rows = find_pit_rows(image, num_markers);
    const PitLevels<Value> basins(num_markers, summits.size() + lone.size() - num_markers, passes);
    settle(image, fill, markers, mask, single_pixels(image, markers.summits), contested, basins, pit_rows);
    for (uint32_t& summit : only)
        if (summit < kSeveral) summit = found.marker_of(summit);
    write_lone(image, mask, only);
}

template <typename Value>
void watershed(WatershedImage<Value> image, Value peak, Value fill, Value prominence) {
    MaskComponents mask(1, image.bands), above_peak(1, image.bands);
    threshold(image, fill, peak, mask, above_peak);
    const size_t num_components = mask.number(image.num_threads), num_peaks = above_peak.number(image.num_threads);
    const std::vector<uint32_t> only = only_markers(image, mask, above_peak, num_components);
    if (prominence < 0)
        flood_from_peaks(image, peak, fill, mask, above_peak, num_peaks, only);
    else
        flood_from_summits(image, peak, fill, prominence, mask, only);
}

}  // namespace

template <typename Value>
void watershed(const Value* map, size_t height, size_t width, double peak, double fill, double prominence, int32_t* out,
               size_t num_threads) {
    if (width == 0 || height == 0) return;
    require_countable(height, width);
    num_threads = resolve_threads(num_threads, height * width);
    watershed(WatershedImage<Value>{map, height, width, out, num_threads, Bands(height, num_threads),
                                    std::vector<uint8_t>(height, 0)},
              static_cast<Value>(peak), static_cast<Value>(fill), static_cast<Value>(prominence));
}

template void watershed(const float*, size_t, size_t, double, double, double, int32_t*, size_t);
template void watershed(const double*, size_t, size_t, double, double, double, int32_t*, size_t);

}  // namespace dinocell
