#include "dinocell/distance_map.hpp"

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "checked.hpp"
#include "dinocell/relabel.hpp"
#include "distance_envelope.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

constexpr size_t kReach = 254;    // distances up to here are searched for; beyond, the envelope takes over
constexpr uint16_t kFar = 65535;  // more than kReach^2
constexpr size_t kPadding = 128;  // rows of scratch end with so many values more, for whole vectors
constexpr size_t kBandRows = cut_size(64, 5);

struct Bound {
    uint32_t begin, end;
};

enum class BandResult { kDone, kTooDeep, kLabelTooLarge };

template <typename Label>
struct BandJob {
    const Label* labels;
    size_t height, width;
    bool border;
    float* out;
    size_t num_labels;  // length of `largest`
    uint32_t* largest;  // by label: its largest squared distance
};

// What one thread needs for a band of rows.
struct BandScratch {
    BandScratch(size_t rows, size_t width)
        : stride(width + kPadding), down(rows * stride), up(stride), below(stride),
          square(width + 2 * kReach + kPadding, kFar), best(stride), rising(stride, kFar), falling(stride, kFar),
          far(stride, kFar), bounds(width + 1), divisor(stride) {
        for (size_t i = 0; i < std::min(width, kReach + 1); ++i)  // 255^2 still fits
            rising[i] = falling[width - 1 - i] = static_cast<uint16_t>((i + 1) * (i + 1));
    }
    size_t stride;
    std::vector<uint8_t> down, up, below;        // vertical distances: of all rows, of this row, of the row before
    std::vector<uint16_t> square, best;          // vertical distances squared; the result
    std::vector<uint16_t> rising, falling, far;  // squared distances from the left and right end of a run; none
    std::vector<Bound> bounds;                   // the row's runs of cells
    std::vector<float> divisor;
    size_t most = 0;  // largest label met
};

template <typename Atomic, typename Value>
void raise(Atomic&& current, Value value) {
    Value seen = current.load(std::memory_order_relaxed);
    while (seen < value && !current.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
}

// Masks for the last values of a run: load(kTail + kMaxLanes - n) keeps n lanes.
constexpr size_t kMaxLanes = 32;
constexpr auto kTailTable = [] {
    std::array<uint16_t, 2 * kMaxLanes> table{};
    for (size_t i = 0; i < kMaxLanes; ++i) table[i] = 0xffff;
    return table;
}();
constexpr const uint16_t* kTail = kTailTable.data();

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "distance_map.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename Label>
BandResult distance_band(const BandJob<Label>& job, size_t begin, size_t end, BandScratch& scratch) {
    DINOCELL_DISPATCH(distance_band(job, begin, end, scratch))
}

template <typename Label>
void divide_row(const Label* labels, const float* scale, float* out, size_t width, BandScratch& scratch) {
    DINOCELL_DISPATCH(divide_row(labels, scale, out, width, scratch))
}

// calloc: pages of labels that do not occur are never touched.
using Table = std::unique_ptr<uint32_t[], void (*)(void*)>;
Table zeros(size_t count) {
    Table table(static_cast<uint32_t*>(std::calloc(count, sizeof(uint32_t))), std::free);
    if (!table) throw std::bad_alloc();
    return table;
}

template <typename Label>
BandResult search(const Label* labels, size_t height, size_t width, float* out, bool normalize, bool border,
                  size_t num_labels, size_t num_threads) {
    const Table largest = zeros(num_labels);
    const BandJob<Label> job{labels, height, width, border, out, num_labels, largest.get()};
    const size_t rows = std::min(kBandRows, height), num_bands = (height + rows - 1) / rows;
    const auto scratch = [&] { return BandScratch(rows, width); };
    std::atomic<BandResult> result{BandResult::kDone};
    std::atomic<size_t> most{0};
    parallel_for(num_bands, num_threads, scratch, [&](size_t band, BandScratch& mine) {
        if (result.load(std::memory_order_relaxed) != BandResult::kDone) return;
        const BandResult found = distance_band(job, band * rows, std::min(height, (band + 1) * rows), mine);
        if (found != BandResult::kDone) result.store(found, std::memory_order_relaxed);
        raise(most, mine.most);
    });
    if (result != BandResult::kDone) return result;

    std::vector<float> scale(most + 1, 1.0f);
    if (normalize)
        for (size_t label = 1; label <= most; ++label)
            if (largest[label] != 0) scale[label] = std::sqrt(static_cast<float>(largest[label]));
    parallel_for(num_bands, num_threads, scratch, [&](size_t band, BandScratch& mine) {
        for (size_t y = band * rows; y < std::min(height, (band + 1) * rows); ++y)
            divide_row(labels + y * width, scale.data(), out + y * width, width, mine);
    });
    return BandResult::kDone;
}

template <typename Label>
bool fills_image(const Label* labels, size_t size) {
    size_t same = 1;
    while (same < size && labels[same] == labels[0]) ++same;
    return same == size;
}

}  // namespace

template <typename Label>
void distance_map(const Label* labels, size_t height, size_t width, float* out, bool normalize,
                  bool border_is_background, size_t num_threads) {
    const size_t size = height * width;
    if (size == 0) return;
    const bool border = border_is_background || fills_image(labels, size);
    num_threads = resolve_threads(num_threads, size);
    // A table by label is no larger than the image.
    size_t num_labels = 65536 + size / 4;
    BandResult result = search(labels, height, width, out, normalize, border, num_labels, num_threads);
    if (result == BandResult::kDone) return;

    if (const Label least = *std::min_element(labels, labels + size); least < 0)
        throw std::invalid_argument("labels must not be negative, got " + std::to_string(least) +
                                    "; 0 is background, cells are 1, 2, ...");
    std::vector<int32_t> small(size);
    num_labels = relabel(labels, size, small.data(), num_threads) + 1;
    if (result == BandResult::kLabelTooLarge)
        result = search(small.data(), height, width, out, normalize, border, num_labels, num_threads);
    if (result == BandResult::kTooDeep)
        distance_envelope(small.data(), num_labels, height, width, out, normalize, border, num_threads);
}

template void distance_map(const uint16_t*, size_t, size_t, float*, bool, bool, size_t);
template void distance_map(const int32_t*, size_t, size_t, float*, bool, bool, size_t);
template void distance_map(const int64_t*, size_t, size_t, float*, bool, bool, size_t);

}  // namespace dinocell
