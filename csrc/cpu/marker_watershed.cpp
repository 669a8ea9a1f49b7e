#include <algorithm>
#include <vector>

#include "dinocell/connected_components.hpp"
#include "dinocell/watershed.hpp"
#include "flood.hpp"
#include "parallel.hpp"

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

// The components of a mask, shared out in the order of their first pixels so that shares have about as many pixels.
class Shares {
  public:
    Shares(const uint8_t* mask, size_t height, size_t width, int connectivity, size_t num_threads)
        : component_(height * width) {
        const size_t count = connected_components(mask, height, width, connectivity, component_.data(), num_threads);
        std::vector<size_t> pixels(count + 1, 0), last_row(count + 1, 0), first_row(count + 1, height);
        size_t total = 0;
        for (size_t y = 0; y < height; ++y)
            for (size_t p = y * width; p < (y + 1) * width; ++p) {
                const auto component = static_cast<size_t>(component_[p]);
                if (component == 0) continue;
                ++total;
                ++pixels[component];
                first_row[component] = std::min(first_row[component], y);
                last_row[component] = y;
            }
        const size_t most = std::max<size_t>(1, total / (4 * num_threads));
        share_.assign(count + 1, kNone);
        size_t held = most;
        for (size_t component = 1; component <= count; ++component) {
            if (held >= most) {
                rows_.push_back({first_row[component], 0});
                held = 0;
            }
            share_[component] = static_cast<uint32_t>(rows_.size() - 1);
            rows_.back().end = std::max(rows_.back().end, last_row[component] + 1);
            held += pixels[component];
        }
    }

    struct Rows {
        size_t begin, end;
    };
    size_t count() const { return rows_.size(); }
    // The rows in which a share has pixels, and whether a pixel belongs to it.
    Rows rows(size_t share) const { return rows_[share]; }
    bool holds(size_t share, size_t pixel) const { return share_[static_cast<size_t>(component_[pixel])] == share; }

  private:
    static constexpr uint32_t kNone = 0xffffffffu;

    std::vector<int32_t> component_;
    std::vector<uint32_t> share_;  // by component; kNone outside the mask
    std::vector<Rows> rows_;
};

// Components do not touch, so a flood of one reads and writes nothing that the flood of another writes.
template <int connectivity, typename Value>
void flood_shares(const Value* image, size_t width, const Shares& shares, size_t num_threads, int32_t* labels,
                  uint8_t* states) {
    const auto key_of = [image](size_t pixel) { return order_key(image[pixel]); };
    using Queue = FloodQueue<decltype(order_key(Value{}))>;
    parallel_for(
        shares.count(), num_threads, [] { return Queue(); },
        [&](size_t share, Queue& queue) {
            Flood<connectivity, decltype(key_of)> flooding(key_of, width, states, labels, queue);
            const auto [begin, end] = shares.rows(share);
            for (size_t p = begin * width; p < end * width; ++p)
                if (shares.holds(share, p) && labels[p] != 0) flooding.seed(p);
            flooding.run();
        });
}

}  // namespace

template <typename Value>
void marker_watershed(const Value* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                      int connectivity, size_t num_threads) {
    require_countable(height, width);
    num_threads = resolve_threads(num_threads, height * width);
    std::vector<uint8_t> states = flood_states(height, width, labels, mask);
    if (num_threads > 1 && mask != nullptr) {
        const Shares shares(mask, height, width, connectivity, num_threads);
        if (connectivity == 1)
            flood_shares<1>(image, width, shares, num_threads, labels, states.data());
        else
            flood_shares<2>(image, width, shares, num_threads, labels, states.data());
    } else if (connectivity == 1) {
        flood_image<1>(image, height, width, labels, states.data());
    } else {
        flood_image<2>(image, height, width, labels, states.data());
    }
}

template void marker_watershed(const float*, size_t, size_t, int32_t*, const uint8_t*, int, size_t);
template void marker_watershed(const double*, size_t, size_t, int32_t*, const uint8_t*, int, size_t);
template void marker_watershed(const int64_t*, size_t, size_t, int32_t*, const uint8_t*, int, size_t);

}  // namespace dinocell
