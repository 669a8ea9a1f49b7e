// What the steps of a watershed share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "parallel.hpp"

namespace dinocell {

// A number among the labels: this pixel has neither label nor pointer yet. Other negative numbers are pointers: ~index
// of the pixel whose label this one takes.
constexpr int32_t kOpen = std::numeric_limits<int32_t>::min();

// A distance map and the labels that take shape over it, both row-major; open_rows: by row, whether it began with open
// pixels.
template <typename Value>
struct WatershedImage {
    const Value* map;
    size_t height, width;
    int32_t* labels;
    size_t num_threads;
    Bands bands;
    std::vector<uint8_t> open_rows;
};

// Calls visit(y) for every row with open pixels, bands in parallel.
template <typename Value, typename Visit>
void for_each_open_row(const WatershedImage<Value>& image, const Visit& visit) {
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y)
            if (image.open_rows[y]) visit(y);
    });
}

// The pixels from which a flood starts: those above `peak`, or if there are `summits`, these, the i-th being the marker
// of basin i + 1.
template <typename Value>
struct Markers {
    Value peak;
    std::vector<uint32_t> summits;

    bool hold(const WatershedImage<Value>& image, size_t pixel) const {
        if (summits.empty()) return image.map[pixel] > peak;
        const auto basin = static_cast<size_t>(image.labels[pixel]);
        return basin > 0 && basin <= summits.size() && summits[basin - 1] == pixel;
    }
    // All pixels above it are markers.
    Value limit() const { return summits.empty() ? peak : std::numeric_limits<Value>::infinity(); }
};

}  // namespace dinocell
