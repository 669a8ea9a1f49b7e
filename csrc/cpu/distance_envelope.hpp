// Distance maps of cells of any size, by the lower envelope of parabolas.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dinocell {

// As distance_map for labels in [0, num_labels), with `border` saying whether pixels outside the image are background.
// Slower than the search of distance_map.inl but without a limit to the distance: O(height * width) whatever the cells;
// 4 to 12 bytes of scratch per pixel.
void distance_envelope(const int32_t* labels, size_t num_labels, size_t height, size_t width, float* out,
                       bool normalize, bool border, size_t num_threads);

}  // namespace dinocell
