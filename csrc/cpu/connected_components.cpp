#include "dinocell/connected_components.hpp"

#include <algorithm>

#include "mask_components.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

DINOCELL_CLONES void nonzero(const uint8_t* mask, size_t width, uint8_t* row) {
    for (size_t x = 0; x < width; ++x) row[x] = mask[x] != 0;
}

}  // namespace

size_t connected_components(const uint8_t* mask, size_t height, size_t width, int connectivity, int32_t* out) {
    MaskComponents components(width, connectivity);
    std::vector<uint8_t> row(width);
    for (size_t y = 0; y < height; ++y) {
        nonzero(mask + y * width, width, row.data());
        components.add_row(row.data());
    }
    const size_t count = components.number();
    const auto& runs = components.runs();
    for (size_t y = 0; y < height; ++y) {
        int32_t* labels = out + y * width;
        size_t x = 0;
        for (size_t i = components.row_begin(y); i < components.row_begin(y + 1); ++i) {
            std::fill(labels + x, labels + runs[i].begin, 0);
            std::fill(labels + runs[i].begin, labels + runs[i].end, static_cast<int32_t>(runs[i].component + 1));
            x = runs[i].end;
        }
        std::fill(labels + x, labels + width, 0);
    }
    return count;
}

}  // namespace dinocell
