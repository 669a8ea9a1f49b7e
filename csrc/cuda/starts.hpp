// Starts of tiles as a kernel's argument.
#pragma once

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "tiles_kernels.hpp"

namespace dinocell::device {

// Throws std::invalid_argument if the starts do not ascend, do not fit 32 bits or are more than kMaxStarts.
inline Starts starts_of(const int64_t* values, size_t count, const char* name) {
    const auto refuse = [name](const std::string& what) { throw std::invalid_argument(std::string(name) + what); };
    if (count > kMaxStarts)
        refuse(" holds " + std::to_string(count) + " starts; a GPU call takes at most " + std::to_string(kMaxStarts) +
               ": process the image in parts");
    if (!std::is_sorted(values, values + count)) refuse(" must ascend for a GPU call; sort the tiles");
    Starts starts{};
    starts.count = static_cast<uint32_t>(count);
    for (size_t i = 0; i < count; ++i) {
        if (values[i] < std::numeric_limits<int32_t>::min() || values[i] > std::numeric_limits<int32_t>::max())
            refuse(" holds " + std::to_string(values[i]) + ", expected a start within 32 bits");
        starts.at[i] = static_cast<int32_t>(values[i]);
    }
    return starts;
}

}  // namespace dinocell::device
