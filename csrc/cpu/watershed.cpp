#include "dinocell/watershed.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "flood.hpp"
#include "mask_components.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

void check_size(size_t size) {
    if (size > std::numeric_limits<uint32_t>::max()) throw std::overflow_error("image has more than 2^32 pixels");
}

// above[x] = row[x] > threshold; returns whether the row holds NaN.
#define DINOCELL_THRESHOLD(Value)                                                                             \
    DINOCELL_CLONES bool threshold_row(const Value* row, size_t width, Value threshold, uint8_t* above) {     \
        uint8_t nan = 0;                                                                                      \
        for (size_t x = 0; x < width; ++x) {                                                                  \
            above[x] = row[x] > threshold;                                                                    \
            nan |= row[x] != row[x];                                                                          \
        }                                                                                                     \
        return nan != 0;                                                                                      \
    }
DINOCELL_THRESHOLD(float)
DINOCELL_THRESHOLD(double)
#undef DINOCELL_THRESHOLD

constexpr uint32_t kNone = 0xffffffffu;
constexpr uint32_t kSeveral = 0xfffffffeu;

template <typename Value>
class MapWatershed {
  public:
    MapWatershed(const Value* map, size_t height, size_t width, int32_t* out)
        : map_(map), height_(height), width_(width), out_(out), mask_(width, 1), markers_(width, 1) {}

    void compute(Value peak, Value fill, size_t num_threads) {
        std::vector<uint8_t> above(width_);
        for (size_t y = 0; y < height_; ++y) {
            if (threshold_row(map_ + y * width_, width_, fill, above.data()))
                throw std::invalid_argument("the distance map holds NaN");
            mask_.add_row(above.data());
            threshold_row(map_ + y * width_, width_, peak, above.data());
            markers_.add_row(above.data());
        }
        const size_t count = mask_.number();
        markers_.number();
        find_markers(count);
        write_single();
        flood_contested(count, num_threads);
    }

  private:
    // Calls visit(marker run, mask run) for every marker run of row y with the mask run it lies in.
    template <typename Visit>
    void for_each_marker_run(size_t y, const Visit& visit) const {
        size_t around = mask_.row_begin(y);
        for (size_t i = markers_.row_begin(y); i < markers_.row_begin(y + 1); ++i) {
            while (mask_.runs()[around].end < markers_.runs()[i].end) ++around;
            visit(markers_.runs()[i], mask_.runs()[around]);
        }
    }

    // marker_of_[mask component] = its only marker, kNone or kSeveral.
    void find_markers(size_t count) {
        marker_of_.assign(count, kNone);
        for (size_t y = 0; y < height_; ++y)
            for_each_marker_run(y, [&](const MaskRun& marker, const MaskRun& around) {
                uint32_t& only = marker_of_[around.component];
                if (only == kNone)
                    only = marker.component;
                else if (only != marker.component)
                    only = kSeveral;
            });
    }

    void write_single() {
        for (size_t y = 0; y < height_; ++y) {
            int32_t* row = out_ + y * width_;
            std::fill(row, row + width_, 0);
            for (size_t i = mask_.row_begin(y); i < mask_.row_begin(y + 1); ++i) {
                const MaskRun& run = mask_.runs()[i];
                const uint32_t marker = marker_of_[run.component];
                if (marker < kSeveral) std::fill(row + run.begin, row + run.end, static_cast<int32_t>(marker + 1));
            }
        }
    }

    // Pixels [begin, end) of the flat image.
    struct Span {
        size_t begin, end;
    };

    // Components with several markers never touch each other, so each floods on its own, sharing out_ and states.
    void flood_contested(size_t count, size_t num_threads) {
        std::vector<uint32_t> number(count, kNone);
        size_t num_contested = 0;
        for (size_t c = 0; c < count; ++c)
            if (marker_of_[c] == kSeveral) number[c] = static_cast<uint32_t>(num_contested++);
        if (num_contested == 0) return;
        // calloc: pages of cells that need no flooding are never touched.
        const std::unique_ptr<uint8_t, void (*)(void*)> states(
            static_cast<uint8_t*>(std::calloc(height_ * width_, 1)), std::free);
        if (!states) throw std::bad_alloc();

        std::vector<std::vector<Span>> mask_spans(num_contested), marker_spans(num_contested);
        for (size_t y = 0; y < height_; ++y) {
            const size_t row = y * width_;
            for (size_t i = mask_.row_begin(y); i < mask_.row_begin(y + 1); ++i) {
                const MaskRun& run = mask_.runs()[i];
                if (number[run.component] != kNone)
                    mask_spans[number[run.component]].push_back({row + run.begin, row + run.end});
            }
            for_each_marker_run(y, [&](const MaskRun& marker, const MaskRun& around) {
                if (number[around.component] == kNone) return;
                marker_spans[number[around.component]].push_back({row + marker.begin, row + marker.end});
                std::fill(out_ + row + marker.begin, out_ + row + marker.end,
                          static_cast<int32_t>(marker.component + 1));
            });
        }
        std::atomic<size_t> next{0};
        parallel_for(std::min(num_threads, num_contested), num_threads, [&](size_t) {
            Queue queue;
            for (size_t c = next++; c < num_contested; c = next++)
                flood(mask_spans[c], marker_spans[c], states.get(), queue);
        });
    }

    using Queue = FloodQueue<decltype(order_key(Value{}))>;

    void flood(const std::vector<Span>& mask, const std::vector<Span>& markers, uint8_t* states, Queue& queue) {
        for (const Span& span : mask) {
            const size_t y = span.begin / width_;
            const size_t left = y * width_, right = left + width_ - 1;
            const auto vertical = static_cast<uint8_t>((y == 0 ? kTop : 0) | (y + 1 == height_ ? kBottom : 0) | kFree);
            std::fill(states + span.begin, states + span.end, vertical);
            if (span.begin == left) states[left] |= kLeft;
            if (span.end == right + 1) states[right] |= kRight;
        }
        for (const Span& span : markers)
            for (size_t p = span.begin; p < span.end; ++p) states[p] &= static_cast<uint8_t>(~kFree);
        const auto key_of = [this](size_t pixel) { return order_key(-map_[pixel]); };
        Flood<1, decltype(key_of)> flooding(key_of, width_, states, out_, queue);
        for (const Span& span : markers)
            for (size_t p = span.begin; p < span.end; ++p) flooding.seed(p);
        flooding.run();
    }

    const Value* map_;
    size_t height_, width_;
    int32_t* out_;
    MaskComponents mask_, markers_;
    std::vector<uint32_t> marker_of_;
};

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
void watershed(const Value* map, size_t height, size_t width, double peak, double fill, int32_t* out,
               size_t num_threads) {
    check_size(height * width);
    MapWatershed<Value>(map, height, width, out)
        .compute(static_cast<Value>(peak), static_cast<Value>(fill), resolve_threads(num_threads, height * width));
}

template <typename Value>
void marker_watershed(const Value* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                      int connectivity) {
    check_size(height * width);
    std::vector<uint8_t> states(height * width);
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x) {
            const size_t p = y * width + x;
            const bool inside = mask == nullptr || mask[p] != 0;
            if (!inside) labels[p] = 0;
            states[p] = static_cast<uint8_t>(border_bits(y, x, height, width) | (inside && labels[p] == 0 ? kFree : 0));
        }
    if (connectivity == 1)
        flood_image<1>(image, height, width, labels, states.data());
    else
        flood_image<2>(image, height, width, labels, states.data());
}

template void watershed(const float*, size_t, size_t, double, double, int32_t*, size_t);
template void watershed(const double*, size_t, size_t, double, double, int32_t*, size_t);
template void marker_watershed(const float*, size_t, size_t, int32_t*, const uint8_t*, int);
template void marker_watershed(const double*, size_t, size_t, int32_t*, const uint8_t*, int);
template void marker_watershed(const int64_t*, size_t, size_t, int32_t*, const uint8_t*, int);

}  // namespace dinocell
