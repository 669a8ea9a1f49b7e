// Flooding of chosen components of a mask, pixel by pixel.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "flood.hpp"
#include "mask_components.hpp"
#include "watershed_image.hpp"

namespace dinocell {

// Pixels [begin, end) of the flat image.
struct Span {
    size_t begin, end;
};

// Floods -map over the pixels of one component. states: zeros where the flood has not been, as large as the image.
template <typename Value, typename Queue>
void flood_component(const WatershedImage<Value>& image, const std::vector<Span>& mask,
                     const std::vector<Span>& markers, uint8_t* states, Queue& queue) {
    const size_t width = image.width;
    for (const Span& span : mask) {
        const size_t y = span.begin / width;
        const size_t left = y * width, right = left + width - 1;
        const auto vertical = static_cast<uint8_t>((y == 0 ? kTop : 0) | (y + 1 == image.height ? kBottom : 0) | kFree);
        std::fill(states + span.begin, states + span.end, vertical);
        if (span.begin == left) states[left] |= kLeft;
        if (span.end == right + 1) states[right] |= kRight;
    }
    for (const Span& span : markers)
        for (size_t p = span.begin; p < span.end; ++p) states[p] &= static_cast<uint8_t>(~kFree);
    const auto key_of = [&image](size_t pixel) { return order_key(-image.map[pixel]); };
    Flood<1, decltype(key_of)> flooding(key_of, width, states, image.labels, queue);
    for (const Span& span : markers)
        for (size_t p = span.begin; p < span.end; ++p) flooding.seed(p);
    flooding.run();
}

// Floods the components of the mask that are chosen, from the labels of their markers. Components never touch each
// other, so each floods on its own, sharing labels and states.
template <typename Value>
void flood_components(const WatershedImage<Value>& image, const MaskComponents& mask, const MaskComponents& markers,
                      const std::vector<uint8_t>& chosen) {
    constexpr uint32_t kNotChosen = 0xffffffffu;
    std::vector<uint32_t> number(chosen.size(), kNotChosen);
    size_t count = 0;
    for (size_t c = 0; c < chosen.size(); ++c)
        if (chosen[c]) number[c] = static_cast<uint32_t>(count++);
    if (count == 0) return;
    // calloc: pages of cells that need no flooding are never touched.
    const std::unique_ptr<uint8_t, void (*)(void*)> states(
        static_cast<uint8_t*>(std::calloc(image.height * image.width, 1)), std::free);
    if (!states) throw std::bad_alloc();

    std::vector<std::vector<Span>> mask_spans(count), marker_spans(count);
    for (size_t y = 0; y < image.height; ++y) {
        const size_t row = y * image.width;
        const RowRuns line = mask.row(y);
        for (size_t i = 0; i < line.count; ++i)
            if (const uint32_t c = number[line.components[i]]; c != kNotChosen)
                mask_spans[c].push_back({row + line.runs[i].begin, row + line.runs[i].end});
        for_each_within(markers.row(y), line, [&](Run marker, uint32_t, uint32_t component) {
            if (const uint32_t c = number[component]; c != kNotChosen)
                marker_spans[c].push_back({row + marker.begin, row + marker.end});
        });
    }
    using Queue = FloodQueue<decltype(order_key(Value{}))>;
    parallel_for(
        count, image.num_threads, [] { return Queue(); },
        [&](size_t c, Queue& queue) { flood_component(image, mask_spans[c], marker_spans[c], states.get(), queue); });
}

}  // namespace dinocell
