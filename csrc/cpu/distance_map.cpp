#include "dinocell/distance_map.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "dinocell/relabel.hpp"
#include "label_range.hpp"
#include "parallel.hpp"
#include "runs.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

constexpr size_t kReach = 64;        // the min-plus search looks this far; beyond it the envelope takes over
constexpr size_t kBlock = 128;       // pixels searched together
constexpr size_t kStripe = 256;      // columns swept together, so that a stripe stays in cache
constexpr uint16_t kFar = 65535 - kReach * kReach;  // "not within reach", with room for + dx^2
constexpr uint16_t kFarRoot = 247;   // 247^2 <= kFar

// Squares of 32768^2 + 32768^2 fit 32 bits; larger images count in 64.
struct Narrow {
    using Run = uint16_t;
    using Square = uint32_t;
    static constexpr Run kUnbounded = 65535;
};
struct Wide {
    using Run = uint32_t;
    using Square = uint64_t;
    static constexpr Run kUnbounded = 4294967295u;
};

// One step of a vertical sweep: length of the run of equal labels that ends here. `before` is the row swept before.
#define DINOCELL_SWEEP_ROW(Label, Run)                                                                          \
    DINOCELL_CLONES void sweep_row(const Label* row, const Label* before, const Run* run_before, Run* run,     \
                                   size_t width) {                                                             \
        for (size_t x = 0; x < width; ++x) {                                                                   \
            const Run longer = static_cast<Run>(run_before[x] + (run_before[x] != static_cast<Run>(-1)));      \
            const Run same = row[x] == before[x] ? longer : Run{1};                                            \
            run[x] = row[x] == 0 ? Run{0} : same;                                                              \
        }                                                                                                      \
    }
DINOCELL_SWEEP_ROW(uint16_t, uint16_t)
DINOCELL_SWEEP_ROW(int32_t, uint16_t)
DINOCELL_SWEEP_ROW(int32_t, uint32_t)
#undef DINOCELL_SWEEP_ROW

#define DINOCELL_MIN_ROW(Run)                                                                                   \
    DINOCELL_CLONES void min_row(Run* row, const Run* other, size_t width) {                                   \
        for (size_t x = 0; x < width; ++x) row[x] = std::min(row[x], other[x]);                                \
    }
DINOCELL_MIN_ROW(uint16_t)
DINOCELL_MIN_ROW(uint32_t)
#undef DINOCELL_MIN_ROW

#define DINOCELL_CLAMPED_SQUARES(Run)                                                                           \
    DINOCELL_CLONES void clamped_squares(const Run* run, size_t width, uint16_t* square) {                     \
        for (size_t x = 0; x < width; ++x) {                                                                   \
            const uint16_t root = static_cast<uint16_t>(std::min<Run>(run[x], kFarRoot));                      \
            square[x] = static_cast<uint16_t>(root * root);                                                    \
        }                                                                                                      \
    }
DINOCELL_CLAMPED_SQUARES(uint16_t)
DINOCELL_CLAMPED_SQUARES(uint32_t)
#undef DINOCELL_CLAMPED_SQUARES

DINOCELL_CLONES void limit_run(uint16_t* best, const uint16_t* from_left, const uint16_t* from_right, size_t length) {
    for (size_t i = 0; i < length; ++i) best[i] = std::min(best[i], std::min(from_left[i], from_right[i]));
}

DINOCELL_CLONES uint16_t largest(const uint16_t* values, size_t count) {
    uint16_t result = 0;
    for (size_t x = 0; x < count; ++x) result = std::max(result, values[x]);
    return result;
}

// best[x] = min over |dx| < reach of square[x + dx] + dx^2, for one block; exact wherever the result is <= kReach^2.
// No label is compared: best starts at or below the squared distance to the ends of the pixel's own run, so a
// parabola from beyond an end never wins. Stops as soon as dx^2 reaches every pixel's best.
DINOCELL_CLONES void search_block(const uint16_t* square, uint16_t* best) {
    uint16_t worst = 0;
    for (size_t x = 0; x < kBlock; ++x) worst = std::max(worst, best[x]);
    for (size_t dx = 1; dx <= kReach && dx * dx < worst; ++dx) {
        const uint16_t step = static_cast<uint16_t>(dx * dx);
        const uint16_t* left = square - dx;
        const uint16_t* right = square + dx;
        worst = 0;
        for (size_t x = 0; x < kBlock; ++x) {
            const uint16_t nearer = std::min(left[x], right[x]);
            const uint16_t reached = static_cast<uint16_t>(nearer + step);
            best[x] = std::min(best[x], reached);
            worst = std::max(worst, best[x]);
        }
    }
}

// Squares as the bits of floats, see DistanceMap::store.
DINOCELL_CLONES void widen(const uint16_t* squares, float* out, size_t width) {
    for (size_t x = 0; x < width; ++x) out[x] = std::bit_cast<float>(static_cast<uint32_t>(squares[x]));
}

DINOCELL_CLONES void divide_narrow(float* out, const float* scale, size_t width) {
    for (size_t x = 0; x < width; ++x) {
        // Below 2^24 the square is exact in float32 and so is the rounding of its root.
        const float root = std::sqrt(static_cast<float>(static_cast<int32_t>(std::bit_cast<uint32_t>(out[x]))));
        out[x] = root / scale[x];
    }
}

template <typename Square>
float rooted(Square square) {
    return static_cast<float>(std::sqrt(static_cast<double>(square)));
}

template <typename Size, typename Label>
class DistanceMap {
  public:
    using Run = typename Size::Run;
    using Square = typename Size::Square;

    DistanceMap(const Label* labels, size_t height, size_t width, size_t label_count, bool border, float* out)
        : labels_(labels), height_(height), width_(width), border_(border), out_(out),
          run_(new Run[height * width]), largest_(label_count, 0) {
        if constexpr (!std::is_same_v<Square, uint32_t>) squares_.resize(height * width);
    }

    void compute(bool normalize, size_t num_threads) {
        parallel_for((width_ + kStripe - 1) / kStripe, num_threads, [&](size_t stripe) {
            sweep_columns(stripe * kStripe, std::min(width_, (stripe + 1) * kStripe));
        });
        fill_ramps();
        const size_t rows = std::max<size_t>(1, 65536 / std::max<size_t>(1, width_));
        const size_t num_bands = (height_ + rows - 1) / rows;
        parallel_for(num_bands, num_threads, [&](size_t band) {
            RowScratch scratch(width_);
            for (size_t y = band * rows; y < std::min(height_, (band + 1) * rows); ++y) envelope_row(y, scratch);
        });

        const Square deepest = *std::max_element(largest_.begin(), largest_.end());
        scale_.assign(largest_.size(), 1.0f);
        if (normalize)
            for (size_t label = 1; label < largest_.size(); ++label)
                if (largest_[label] != 0) scale_[label] = rooted(largest_[label]);
        parallel_for(num_bands, num_threads, [&](size_t band) {
            std::vector<float> scale(width_);
            for (size_t y = band * rows; y < std::min(height_, (band + 1) * rows); ++y)
                divide_row(y, deepest < (Square{1} << 24), scale.data());
        });
    }

  private:
    struct RowScratch {
        explicit RowScratch(size_t width)
            : padded(width + kBlock + 2 * kReach, kFar), best(width + kBlock, 0) {}
        std::vector<uint16_t> padded;
        std::vector<uint16_t> best;
        std::vector<size_t> ends;            // where each run of equal labels ends
        std::vector<size_t> site, from;      // the envelope's parabolas and where each begins
        std::vector<Square> height;
    };

    // Squared distances from the left end of a run and from the right end of one as long as the image is wide.
    void fill_ramps() {
        far_.assign(width_, kFar);
        rising_.assign(width_, kFar);
        for (size_t i = 0; i < std::min<size_t>(width_, kFarRoot); ++i)
            rising_[i] = static_cast<uint16_t>((i + 1) * (i + 1));
        falling_.assign(rising_.rbegin(), rising_.rend());
    }

    const Label* row(size_t y) const { return labels_ + y * width_; }

    // run_ = distance to the nearest other label up or down the column; kUnbounded where there is none.
    void sweep_columns(size_t begin, size_t end) {
        const size_t count = end - begin;
        std::vector<Run> upward(count), below(count);
        for (size_t y = 0; y < height_; ++y) {
            Run* run = run_.get() + y * width_ + begin;
            if (y == 0)
                first_row(row(0) + begin, run, count);
            else
                sweep_row(row(y) + begin, row(y - 1) + begin, run - width_, run, count);
        }
        for (size_t y = height_; y-- > 0;) {
            if (y + 1 == height_)
                first_row(row(y) + begin, upward.data(), count);
            else
                sweep_row(row(y) + begin, row(y + 1) + begin, below.data(), upward.data(), count);
            min_row(run_.get() + y * width_ + begin, upward.data(), count);
            below.swap(upward);
        }
    }

    void first_row(const Label* labels, Run* run, size_t count) const {
        const Run edge = border_ ? Run{1} : Size::kUnbounded;
        for (size_t x = 0; x < count; ++x) run[x] = labels[x] == 0 ? Run{0} : edge;
    }

    void envelope_row(size_t y, RowScratch& scratch) {
        const Label* label = row(y);
        const Run* run = run_.get() + y * width_;
        uint16_t* square = scratch.padded.data() + kReach;
        uint16_t* best = scratch.best.data();
        clamped_squares(run, width_, square);
        find_runs(label, scratch);
        limit_to_runs(square, label, scratch);
        for (size_t x = 0; x < width_; x += kBlock) search_block(square + x, best + x);

        store_row(y, best);
        size_t begin = 0;
        for (const size_t end : scratch.ends) {
            if (label[begin] != 0) {
                Square deepest = largest(best + begin, end - begin);
                if (deepest > kReach * kReach) deepest = envelope(y, begin, end, run, scratch);
                raise(static_cast<size_t>(label[begin]), deepest);
            }
            begin = end;
        }
    }

    void find_runs(const Label* label, RowScratch& scratch) const {
        scratch.ends.clear();
        for_each_run(label, width_, [&](size_t, size_t end) { scratch.ends.push_back(end); });
    }

    // best = min(column distance, distance to the ends of the run), squared.
    void limit_to_runs(const uint16_t* square, const Label* label, RowScratch& scratch) const {
        uint16_t* best = scratch.best.data();
        std::copy(square, square + width_, best);
        size_t begin = 0;
        for (const size_t end : scratch.ends) {
            const size_t length = end - begin;
            if (label[begin] != 0)
                limit_run(best + begin, begin > 0 || border_ ? rising_.data() : far_.data(),
                          end < width_ || border_ ? falling_.data() + (width_ - length) : far_.data(), length);
            begin = end;
        }
    }

    // Lower envelope of the parabolas of one run (Meijster 2000, second phase). Coordinates count from the pixel
    // before the run, which is 0; it and the pixel after are parabolas of height 0 unless they lie off the image.
    Square envelope(size_t y, size_t begin, size_t end, const Run* run, RowScratch& scratch) {
        const size_t length = end - begin;
        auto& site = scratch.site;
        auto& from = scratch.from;
        auto& height = scratch.height;
        site.clear();
        from.clear();
        height.clear();
        auto value = [&](size_t x, size_t k) {
            const Square distance = x > site[k] ? x - site[k] : site[k] - x;
            return distance * distance + height[k];
        };
        auto add = [&](size_t x, Square h) {
            auto at = [&](size_t p) {
                const Square distance = p > x ? p - x : x - p;
                return distance * distance + h;
            };
            while (!site.empty() && value(from.back(), site.size() - 1) > at(from.back())) {
                site.pop_back();
                from.pop_back();
                height.pop_back();
            }
            size_t start = 0;
            if (!site.empty()) {
                const uint64_t a = site.back(), b = x;
                start = static_cast<size_t>((b * b + h - a * a - height.back()) / (2 * (b - a))) + 1;
                if (start > length) return;
            }
            site.push_back(x);
            from.push_back(start);
            height.push_back(h);
        };
        if (begin > 0 || border_) add(0, 0);
        for (size_t i = 0; i < length; ++i)
            if (run[begin + i] != Size::kUnbounded) add(i + 1, Square{run[begin + i]} * run[begin + i]);
        if (end < width_ || border_) add(length + 1, 0);

        Square deepest = 0;
        size_t k = site.size() - 1;
        for (size_t i = length; i > 0; --i) {
            while (from[k] > i) --k;
            const Square square = value(i, k);
            store(y, begin + i - 1, square);
            deepest = std::max(deepest, square);
        }
        return deepest;
    }

    // 32-bit squares wait in the bits of `out`, which saves a buffer of the image's size.
    void store(size_t y, size_t x, Square square) {
        if constexpr (std::is_same_v<Square, uint32_t>)
            out_[y * width_ + x] = std::bit_cast<float>(square);
        else
            squares_[y * width_ + x] = square;
    }

    void store_row(size_t y, const uint16_t* best) {
        if constexpr (std::is_same_v<Square, uint32_t>)
            widen(best, out_ + y * width_, width_);
        else
            std::copy(best, best + width_, squares_.begin() + static_cast<ptrdiff_t>(y * width_));
    }

    void raise(size_t label, Square square) {
        std::atomic_ref<Square> current(largest_[label]);
        Square seen = current.load(std::memory_order_relaxed);
        while (seen < square && !current.compare_exchange_weak(seen, square, std::memory_order_relaxed)) {
        }
    }

    void divide_row(size_t y, bool exact_in_float, float* scale) {
        const Label* label = row(y);
        float* out = out_ + y * width_;
        for (size_t x = 0; x < width_; ++x) scale[x] = scale_[static_cast<size_t>(label[x])];
        if constexpr (std::is_same_v<Square, uint32_t>) {
            if (exact_in_float)
                divide_narrow(out, scale, width_);
            else
                for (size_t x = 0; x < width_; ++x) out[x] = rooted(std::bit_cast<uint32_t>(out[x])) / scale[x];
        } else {
            for (size_t x = 0; x < width_; ++x) out[x] = rooted(squares_[y * width_ + x]) / scale[x];
        }
    }

    const Label* labels_;
    size_t height_, width_;
    bool border_;
    float* out_;
    std::unique_ptr<Run[]> run_;
    std::vector<uint16_t> far_, rising_, falling_;
    std::vector<Square> largest_;  // by label: its largest squared distance
    std::vector<float> scale_;
    std::vector<Square> squares_;
};

}  // namespace

template <typename Label>
void distance_map(const Label* labels, size_t height, size_t width, float* out, bool normalize,
                  bool border_is_background, size_t num_threads) {
    const size_t size = height * width;
    if (size == 0) return;
    const auto [least, most] = label_range(labels, size);
    if (least < 0) throw std::invalid_argument("labels hold negative values");
    const bool border = border_is_background || least == most;
    num_threads = resolve_threads(num_threads, size);
    const bool narrow = height <= 32768 && width <= 32768;
    if constexpr (sizeof(Label) <= 4) {
        // A table by label is no larger than the image.
        if (narrow && static_cast<uint64_t>(most) < 65536 + size / 4) {
            DistanceMap<Narrow, Label>(labels, height, width, static_cast<size_t>(most) + 1, border, out)
                .compute(normalize, num_threads);
            return;
        }
    }
    std::vector<int32_t> small(size);
    const size_t count = relabel(labels, size, small.data());
    if (narrow)
        DistanceMap<Narrow, int32_t>(small.data(), height, width, count + 1, border, out)
            .compute(normalize, num_threads);
    else
        DistanceMap<Wide, int32_t>(small.data(), height, width, count + 1, border, out)
            .compute(normalize, num_threads);
}

template void distance_map(const uint16_t*, size_t, size_t, float*, bool, bool, size_t);
template void distance_map(const int32_t*, size_t, size_t, float*, bool, bool, size_t);
template void distance_map(const int64_t*, size_t, size_t, float*, bool, bool, size_t);

}  // namespace dinocell
