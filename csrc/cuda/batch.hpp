// Sizes of a batch as the kernels count them.
#pragma once

#include <stdexcept>
#include <string>

#include "for_each.hpp"

namespace dinocell::device {

// Throws std::invalid_argument for 2^31 pixels or more, whose numbers would not fit the kernels' words.
inline void require_pixels_fit(size_t images, size_t pixels_each) {
    constexpr size_t kMost = 2147483647;
    if (images <= kMost && pixels_each <= kMost && images * pixels_each <= kMost) return;
    throw std::invalid_argument("got " + std::to_string(images) + " images of " + std::to_string(pixels_each) +
                                " pixels; a GPU call takes fewer than 2^31 pixels: process the image or the batch in "
                                "parts");
}

inline Batch batch_of(size_t images, size_t height, size_t width) {
    constexpr size_t kMost = 2147483647;
    require_pixels_fit(images, height <= kMost && width <= kMost ? height * width : kMost + 1);
    return {static_cast<uint32_t>(images), static_cast<uint32_t>(height), static_cast<uint32_t>(width)};
}

}  // namespace dinocell::device
