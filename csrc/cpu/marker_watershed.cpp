#include <vector>

#include "dinocell/watershed.hpp"
#include "flood.hpp"

namespace dinocell {
namespace {

template <int connectivity, typename Value>
void flood_image(const Value* image, size_t height, size_t width, int32_t* labels, uint8_t* states) {
    const auto key_of = [image](size_t pixel) { return order_key(image[pixel]); };
    FloodQueue<decltype(order_key(Value{}))> queue;
    Flood<connectivity, decltype(key_of)> flooding(key_of, width, states, labels, queue);
    for (size_t p = 0; p < height * width; ++p)
        if (labels[p] != 0) flooding.seed(p);
    flooding.run();
}

}  // namespace

template <typename Value>
void marker_watershed(const Value* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                      int connectivity) {
    require_countable(height, width);
    std::vector<uint8_t> states = flood_states(height, width, labels, mask);
    if (connectivity == 1)
        flood_image<1>(image, height, width, labels, states.data());
    else
        flood_image<2>(image, height, width, labels, states.data());
}

template void marker_watershed(const float*, size_t, size_t, int32_t*, const uint8_t*, int);
template void marker_watershed(const double*, size_t, size_t, int32_t*, const uint8_t*, int);
template void marker_watershed(const int64_t*, size_t, size_t, int32_t*, const uint8_t*, int);

}  // namespace dinocell
