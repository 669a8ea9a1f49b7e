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

}  // namespace dinocell
