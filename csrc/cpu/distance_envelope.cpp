#include "distance_envelope.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <vector>

#include "checked.hpp"
#include "parallel.hpp"

namespace dinocell {
namespace {

constexpr size_t kStripe = cut_size(256, 7);  // columns swept together, so that a stripe stays in cache

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

template <typename Square>
float rooted(Square square) {
    return static_cast<float>(std::sqrt(static_cast<double>(square)));
}

template <typename Size>
class Envelope {
  public:
    using Run = typename Size::Run;
    using Square = typename Size::Square;

    Envelope(const int32_t* labels, size_t height, size_t width, size_t num_labels, bool border, float* out)
        : labels_(labels), height_(height), width_(width), border_(border), out_(out), run_(new Run[height * width]),
          squares_(new Square[height * width]), largest_(num_labels, 0) {}

    void compute(bool normalize, size_t num_threads) {
        parallel_for((width_ + kStripe - 1) / kStripe, num_threads,
                     [&](size_t stripe) { sweep_columns(stripe * kStripe, std::min(width_, (stripe + 1) * kStripe)); });
        const size_t rows = std::max<size_t>(1, cut_size(65536, 64) / std::max<size_t>(1, width_));
        const size_t num_bands = (height_ + rows - 1) / rows;
        const auto for_each_row = [&](const auto& visit) {
            parallel_for(
                num_bands, num_threads, [] { return Parabolas{}; },
                [&](size_t band, Parabolas& scratch) {
                    for (size_t y = band * rows; y < std::min(height_, (band + 1) * rows); ++y) visit(y, scratch);
                });
        };
        for_each_row([&](size_t y, Parabolas& scratch) { envelope_row(y, scratch); });
        for_each_row([&](size_t y, Parabolas&) {
            for (size_t p = y * width_; p < (y + 1) * width_; ++p) {
                const float scale =
                    normalize && labels_[p] != 0 ? rooted(largest_[static_cast<size_t>(labels_[p])]) : 1;
                out_[p] = rooted(squares_[p]) / scale;
            }
        });
    }

  private:
    // Parabolas of the envelope and where each begins to be the lowest.
    struct Parabolas {
        std::vector<size_t> site, from;
        std::vector<Square> height;
    };

    const int32_t* row(size_t y) const { return labels_ + y * width_; }

    // run_ = distance to the nearest other label up or down the column; kUnbounded where there is none.
    void sweep_columns(size_t begin, size_t end) {
        std::vector<Run> run(end - begin);
        const auto step = [&](size_t y, const int32_t* before) {
            const int32_t* label = row(y);
            for (size_t x = begin; x < end; ++x) {
                Run& length = run[x - begin];
                if (before == nullptr)
                    length = border_ ? Run{1} : Size::kUnbounded;
                else if (label[x] != before[x])
                    length = 1;
                else if (length != Size::kUnbounded)
                    ++length;
                if (label[x] == 0) length = 0;
            }
        };
        for (size_t y = 0; y < height_; ++y) {
            step(y, y == 0 ? nullptr : row(y - 1));
            std::copy(run.begin(), run.end(), run_.get() + y * width_ + begin);
        }
        for (size_t y = height_; y-- > 0;) {
            step(y, y + 1 == height_ ? nullptr : row(y + 1));
            Run* nearest = run_.get() + y * width_ + begin;
            for (size_t x = 0; x < end - begin; ++x) nearest[x] = std::min(nearest[x], run[x]);
        }
    }

    void envelope_row(size_t y, Parabolas& scratch) {
        const int32_t* label = row(y);
        for (size_t begin = 0, end; begin < width_; begin = end) {
            end = begin + 1;
            while (end < width_ && label[end] == label[begin]) ++end;
            if (label[begin] == 0)
                std::fill(squares_.get() + y * width_ + begin, squares_.get() + y * width_ + end, Square{0});
            else
                raise(static_cast<size_t>(label[begin]), envelope(y, begin, end, scratch));
        }
    }

    // Lower envelope of the parabolas of one run (Meijster 2000, second phase). Coordinates count from the pixel
    // before the run, which is 0; it and the pixel after are parabolas of height 0 unless they lie off the image.
    Square envelope(size_t y, size_t begin, size_t end, Parabolas& scratch) {
        const Run* run = run_.get() + y * width_;
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

        DINOCELL_CHECK(!site.empty());
        Square deepest = 0;
        size_t k = site.size() - 1;
        for (size_t i = length; i > 0; --i) {
            while (from[k] > i) --k;
            DINOCELL_CHECK(k < site.size());
            const Square square = value(i, k);
            squares_[y * width_ + begin + i - 1] = square;
            deepest = std::max(deepest, square);
        }
        return deepest;
    }

    void raise(size_t label, Square square) {
        DINOCELL_CHECK(label < largest_.size());
        std::atomic_ref<Square> current(largest_[label]);
        Square seen = current.load(std::memory_order_relaxed);
        while (seen < square && !current.compare_exchange_weak(seen, square, std::memory_order_relaxed)) {
        }
    }

    const int32_t* labels_;
    size_t height_, width_;
    bool border_;
    float* out_;
    std::unique_ptr<Run[]> run_;
    std::unique_ptr<Square[]> squares_;
    std::vector<Square> largest_;  // by label: its largest squared distance
};

}  // namespace

void distance_envelope(const int32_t* labels, size_t num_labels, size_t height, size_t width, float* out,
                       bool normalize, bool border, size_t num_threads) {
    if (height <= 32768 && width <= 32768)
        Envelope<Narrow>(labels, height, width, num_labels, border, out).compute(normalize, num_threads);
    else
        Envelope<Wide>(labels, height, width, num_labels, border, out).compute(normalize, num_threads);
}

}  // namespace dinocell
