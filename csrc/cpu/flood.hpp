// Flooding in the canonical order of dinocell/watershed.hpp.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace dinocell {

// Unsigned integers that order like the values.
inline uint32_t order_key(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value + 0.0f);  // + 0 turns -0.0 into 0.0
    return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
inline uint64_t order_key(double value) {
    const uint64_t bits = std::bit_cast<uint64_t>(value + 0.0);
    return bits ^ ((bits >> 63) != 0 ? ~uint64_t{0} : uint64_t{1} << 63);
}
inline uint64_t order_key(int64_t value) { return static_cast<uint64_t>(value) ^ (uint64_t{1} << 63); }

// A first-in-first-out priority queue for keys that never fall below the last one popped.
// Bucket b > 0 holds keys whose highest difference from the last one popped is bit b - 1; bucket 0 holds its equals.
// Equal keys always share a bucket and a bucket is only emptied into empty ones, so equal keys keep their order.
template <typename Key>
class FloodQueue {
  public:
    struct Item {
        Key key;
        uint32_t pixel;
    };

    void push(Key key, uint32_t pixel) {
        buckets_[bucket(key)].push_back({key, pixel});
        ++size_;
    }
    bool empty() const { return size_ == 0; }
    Item pop() {
        if (head_ == buckets_[0].size()) refill();
        --size_;
        return buckets_[0][head_++];
    }
    // Starts over; the queue must be empty.
    void restart() {
        last_ = 0;
        head_ = 0;
        buckets_[0].clear();
    }

  private:
    size_t bucket(Key key) const { return static_cast<size_t>(std::bit_width(static_cast<Key>(key ^ last_))); }
    void refill() {
        buckets_[0].clear();
        head_ = 0;
        size_t lowest = 1;
        while (buckets_[lowest].empty()) ++lowest;
        auto& items = buckets_[lowest];
        last_ = items[0].key;
        for (const Item& item : items) last_ = item.key < last_ ? item.key : last_;
        for (const Item& item : items) buckets_[bucket(item.key)].push_back(item);
        items.clear();
    }

    std::array<std::vector<Item>, 8 * sizeof(Key) + 1> buckets_;
    Key last_ = 0;
    size_t head_ = 0;  // next item of bucket 0
    size_t size_ = 0;
};

// The queue holds pixels as 32-bit numbers.
inline void require_countable(size_t height, size_t width) {
    if (height * width > std::numeric_limits<uint32_t>::max())
        throw std::overflow_error("image has more than 2^32 pixels");
}

// Bits of a pixel's state.
constexpr uint8_t kFree = 1;                                      // in the mask, without a label
constexpr uint8_t kTop = 2, kLeft = 4, kRight = 8, kBottom = 16;  // at that border of the image

inline uint8_t border_bits(size_t y, size_t x, size_t height, size_t width) {
    return static_cast<uint8_t>((y == 0 ? kTop : 0) | (x == 0 ? kLeft : 0) | (x + 1 == width ? kRight : 0) |
                                (y + 1 == height ? kBottom : 0));
}

// The states of an image, of which free pixels take part in a flooding from the nonzero labels; labels outside the mask
// (nullptr: none is) are erased.
inline std::vector<uint8_t> flood_states(size_t height, size_t width, int32_t* labels, const uint8_t* mask) {
    std::vector<uint8_t> states(height * width);
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x) {
            const size_t p = y * width + x;
            const bool inside = mask == nullptr || mask[p] != 0;
            if (!inside) labels[p] = 0;
            states[p] = static_cast<uint8_t>(border_bits(y, x, height, width) | (inside && labels[p] == 0 ? kFree : 0));
        }
    return states;
}

// Calls visit(neighbour) in the canonical order.
template <int connectivity, typename Visit>
void for_each_neighbour(size_t pixel, uint8_t state, size_t width, const Visit& visit) {
    if (!(state & kTop)) visit(pixel - width);
    if (!(state & kLeft)) visit(pixel - 1);
    if (!(state & kRight)) visit(pixel + 1);
    if (!(state & kBottom)) visit(pixel + width);
    if constexpr (connectivity == 2) {
        if (!(state & (kTop | kLeft))) visit(pixel - width - 1);
        if (!(state & (kTop | kRight))) visit(pixel - width + 1);
        if (!(state & (kBottom | kLeft))) visit(pixel + width - 1);
        if (!(state & (kBottom | kRight))) visit(pixel + width + 1);
    }
}

// One flooding of an image: markers are seeded in raster order after all states are set, then run() labels the rest.
// A pixel without a free neighbour could never give its label away, so it is not queued.
template <int connectivity, typename KeyOf>
class Flood {
  public:
    using Key = std::invoke_result_t<KeyOf, size_t>;

    Flood(const KeyOf& key_of, size_t width, uint8_t* states, int32_t* labels, FloodQueue<Key>& queue)
        : key_of_(key_of), width_(width), states_(states), labels_(labels), queue_(queue) {}

    void seed(size_t pixel) {
        if (borders_free(pixel)) queue_.push(key_of_(pixel), static_cast<uint32_t>(pixel));
    }

    void run() {
        while (!queue_.empty()) {
            const auto item = queue_.pop();
            const size_t pixel = item.pixel;
            for_each_neighbour<connectivity>(pixel, states_[pixel], width_, [&](size_t neighbour) {
                if (!(states_[neighbour] & kFree)) return;
                states_[neighbour] &= static_cast<uint8_t>(~kFree);
                labels_[neighbour] = labels_[pixel];
                if (!borders_free(neighbour)) return;
                const Key key = key_of_(neighbour);
                queue_.push(key > item.key ? key : item.key, static_cast<uint32_t>(neighbour));
            });
        }
        queue_.restart();
    }

  private:
    bool borders_free(size_t pixel) const {
        uint8_t any = 0;
        for_each_neighbour<connectivity>(pixel, states_[pixel], width_,
                                         [&](size_t neighbour) { any |= states_[neighbour]; });
        return (any & kFree) != 0;
    }

    const KeyOf& key_of_;
    size_t width_;
    uint8_t* states_;
    int32_t* labels_;
    FloodQueue<Key>& queue_;
};

}  // namespace dinocell
