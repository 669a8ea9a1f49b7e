// Smallest and largest label of an image.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dinocell {

template <typename Label>
struct LabelRange {
    Label least, most;
};

// size >= 1.
LabelRange<uint16_t> label_range(const uint16_t* labels, size_t size);
LabelRange<int32_t> label_range(const int32_t* labels, size_t size);
LabelRange<int64_t> label_range(const int64_t* labels, size_t size);

}  // namespace dinocell
