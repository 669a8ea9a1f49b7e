#include "dinocell/prominent_maxima.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "flood.hpp"
#include "radix_sort.hpp"

namespace dinocell {
namespace {

constexpr uint32_t kUnseen = 0xffffffffu;

// Pixels above fill from the highest to the lowest, equal ones in raster order.
template <typename Value>
std::vector<uint32_t> falling_order(const Value* map, size_t size, Value fill) {
    using Key = decltype(order_key(Value{}));
    struct Item {
        Key key;
        uint32_t pixel;
    };
    std::vector<Item> items;
    for (size_t p = 0; p < size; ++p) {
        if (map[p] != map[p]) throw std::invalid_argument("the distance map holds NaN");
        if (map[p] > fill) items.push_back({static_cast<Key>(~order_key(map[p])), static_cast<uint32_t>(p)});
    }
    radix_sort(items, [](const Item& item) { return item.key; });
    std::vector<uint32_t> order(items.size());
    std::transform(items.begin(), items.end(), order.begin(), [](const Item& item) { return item.pixel; });
    return order;
}

// Regions of pixels already seen; a region's root is its highest maximum, so roots compare by rank.
template <typename Value>
class MergeTree {
  public:
    MergeTree(const Value* map, size_t size) : map_(map), parent_(size, kUnseen) {}

    void start(uint32_t pixel) { parent_[pixel] = pixel; }
    bool seen(size_t pixel) const { return parent_[pixel] != kUnseen; }
    void attach(uint32_t pixel, uint32_t root) { parent_[pixel] = root; }

    uint32_t root(uint32_t pixel) {
        while (parent_[pixel] != pixel) {
            parent_[pixel] = parent_[parent_[pixel]];
            pixel = parent_[pixel];
        }
        return pixel;
    }

    // Whether the maximum a comes before b by falling value, then by raster order.
    bool higher(uint32_t a, uint32_t b) const { return map_[a] > map_[b] || (map_[a] == map_[b] && a < b); }

  private:
    const Value* map_;
    std::vector<uint32_t> parent_;
};

}  // namespace

template <typename Value>
size_t prominent_maxima(const Value* map, size_t height, size_t width, double peak, double fill, double prominence,
                        int32_t* out) {
    const size_t size = height * width;
    if (size >= kUnseen) throw std::overflow_error("image has more than 2^32 - 2 pixels");
    const auto peak_value = static_cast<Value>(peak), least = static_cast<Value>(prominence);
    const std::vector<uint32_t> order = falling_order(map, size, static_cast<Value>(fill));
    MergeTree<Value> tree(map, size);
    std::fill(out, out + size, 0);
    for (const uint32_t pixel : order) {
        uint32_t highest = kUnseen;
        const uint8_t state = border_bits(pixel / width, pixel % width, height, width);
        for_each_neighbour<1>(pixel, state, width, [&](size_t neighbour) {
            if (!tree.seen(neighbour)) return;
            const uint32_t region = tree.root(static_cast<uint32_t>(neighbour));
            if (highest == kUnseen) highest = region;
            if (region == highest) return;
            const bool first = tree.higher(highest, region);
            const uint32_t lower = first ? region : highest;
            highest = first ? highest : region;
            // Two regions meet here for the first time: this is the pass of the lower one, unless the pixel is as high
            // as its maximum and so a part of the same plateau.
            const Value height_above = map[lower] - map[pixel];
            if (map[lower] > peak_value && height_above >= least && height_above > 0) out[lower] = 1;
            tree.attach(lower, highest);
        });
        if (highest == kUnseen)
            tree.start(pixel);
        else
            tree.attach(pixel, highest);
    }
    size_t count = 0;
    for (const uint32_t pixel : order)
        if (map[pixel] > peak_value && tree.root(pixel) == pixel) out[pixel] = 1;
    for (size_t p = 0; p < size; ++p)
        if (out[p] != 0) out[p] = static_cast<int32_t>(++count);
    if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
        throw std::overflow_error("more than 2147483647 maxima do not fit int32");
    return count;
}

template size_t prominent_maxima(const float*, size_t, size_t, double, double, double, int32_t*);
template size_t prominent_maxima(const double*, size_t, size_t, double, double, double, int32_t*);

}  // namespace dinocell
