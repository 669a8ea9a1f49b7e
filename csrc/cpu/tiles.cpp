#include "dinocell/tiles.hpp"

#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

// Results from this size on are written past the caches: they would not fit there anyway.
constexpr size_t kStreamedBytes = size_t{32} << 20;

struct Scaling {
    float scale, offset, low, high;
};

// A tile's part of a stretch of a row: its pixels, their weights along the row, and the row's own.
struct BlendSource {
    const float* pixels;
    const float* weights;
    float row_weight;
};

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "tiles.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename Pixel, typename... Arguments>
void gather_tile(Arguments&&... arguments) {
    DINOCELL_DISPATCH(gather_tile<Pixel>(arguments...))
}
template <typename... Arguments>
void stream_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(stream_row(arguments...))
}
template <typename... Arguments>
void blend_segment(Arguments&&... arguments) {
    DINOCELL_DISPATCH(blend_segment(arguments...))
}

// numpy's "reflect": ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
size_t mirrored(int64_t position, size_t length) {
    if (length == 1) return 0;
    const auto period = static_cast<int64_t>(2 * (length - 1));
    int64_t folded = position % period;
    if (folded < 0) folded += period;
    return static_cast<size_t>(std::min(folded, period - folded));
}

// Columns [begin, end) that lie under the same tiles.
struct Segment {
    size_t begin, end;
    std::vector<size_t> tiles;
};

std::vector<Segment> segments_of(const int64_t* xs, size_t num_xs, size_t tile, size_t width) {
    const auto clamped = [&](int64_t x) { return static_cast<size_t>(std::clamp<int64_t>(x, 0, static_cast<int64_t>(width))); };
    std::vector<size_t> cuts{0, width};
    for (size_t j = 0; j < num_xs; ++j) {
        cuts.push_back(clamped(xs[j]));
        cuts.push_back(clamped(xs[j] + static_cast<int64_t>(tile)));
    }
    std::sort(cuts.begin(), cuts.end());
    std::vector<Segment> segments;
    for (size_t k = 1; k < cuts.size(); ++k) {
        if (cuts[k - 1] == cuts[k]) continue;
        Segment segment{cuts[k - 1], cuts[k], {}};
        const auto x = static_cast<int64_t>(segment.begin);
        for (size_t j = 0; j < num_xs; ++j)
            if (xs[j] <= x && x < xs[j] + static_cast<int64_t>(tile)) segment.tiles.push_back(j);
        segments.push_back(segment);
    }
    return segments;
}

}  // namespace

template <typename Pixel, typename Out>
void gather_tiles(const Pixel* image, size_t channels, size_t height, size_t width, const int64_t* ys, size_t num_ys,
                  const int64_t* xs, size_t num_xs, size_t tile, const float* scale, const float* offset, float low,
                  float high, Out* out, size_t num_threads) {
    const size_t num_values = num_ys * num_xs * channels * tile * tile;
    num_threads = resolve_threads(num_threads, num_values);
    const bool streaming = num_values * sizeof(Out) >= kStreamedBytes;
    const auto length = static_cast<int64_t>(tile);
    std::vector<size_t> column(num_xs * tile);
    for (size_t j = 0; j < num_xs; ++j)
        for (size_t x = 0; x < tile; ++x) column[j * tile + x] = mirrored(xs[j] + static_cast<int64_t>(x), width);

    parallel_for(num_ys * num_xs * channels, num_threads, [&](size_t task) {
        const size_t i = task / (num_xs * channels), j = task / channels % num_xs, c = task % channels;
        // Columns [left, right) of the tile lie inside the image; only the others are fetched one by one.
        const auto clamped = [&](int64_t x) { return static_cast<size_t>(std::clamp<int64_t>(x, 0, length)); };
        const size_t left = clamped(-xs[j]), right = std::max(left, clamped(static_cast<int64_t>(width) - xs[j]));
        std::vector<Pixel> mirrored_row(left == 0 && right == tile ? 0 : tile);
        const auto row_of = [&](size_t y) {
            const Pixel* row = image + (c * height + mirrored(ys[i] + static_cast<int64_t>(y), height)) * width;
            if (mirrored_row.empty()) return row + xs[j];
            const size_t* from = column.data() + j * tile;
            for (size_t x = 0; x < left; ++x) mirrored_row[x] = row[from[x]];
            if (left < right) std::memcpy(&mirrored_row[left], row + from[left], (right - left) * sizeof(Pixel));
            for (size_t x = right; x < tile; ++x) mirrored_row[x] = row[from[x]];
            return static_cast<const Pixel*>(mirrored_row.data());
        };
        gather_tile<Pixel>(row_of, tile, Scaling{scale[c], offset[c], low, high}, streaming, out + task * tile * tile);
    });
}

void blend_weights(const int64_t* starts, size_t num_starts, size_t tile, size_t overlap, int64_t begin, int64_t end,
                   const char* axis, float* out) {
    std::vector<double> ramp(tile, 1.0);
    for (size_t i = 0; i < overlap; ++i) {
        const double phase = std::numbers::pi * (static_cast<double>(i) + 0.5) / static_cast<double>(overlap);
        ramp[i] = ramp[tile - 1 - i] = 0.5 * (1.0 - std::cos(phase));
    }
    const auto length = static_cast<int64_t>(tile);
    std::vector<double> sum(static_cast<size_t>(end - begin), 0.0);
    auto for_each_position = [&](size_t t, const auto& visit) {
        for (int64_t p = std::max(begin, starts[t]); p < std::min(end, starts[t] + length); ++p)
            visit(static_cast<size_t>(p - begin), static_cast<size_t>(p - starts[t]));
    };
    for (size_t t = 0; t < num_starts; ++t)
        for_each_position(t, [&](size_t p, size_t i) { sum[p] += ramp[i]; });
    for (size_t p = 0; p < sum.size(); ++p)
        if (sum[p] == 0.0)
            throw std::invalid_argument(std::string(axis) + " " + std::to_string(begin + static_cast<int64_t>(p)) +
                                        " lies under no tile; give every tile that touches " + axis + "s " +
                                        std::to_string(begin) + " to " + std::to_string(end - 1));
    std::fill(out, out + num_starts * tile, 0.0f);
    for (size_t t = 0; t < num_starts; ++t)
        for_each_position(t, [&](size_t p, size_t i) { out[t * tile + i] = static_cast<float>(ramp[i] / sum[p]); });
}

void blend_tiles(const float* tiles, size_t num_ys, size_t num_xs, size_t tile, const int64_t* ys, const int64_t* xs,
                 size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out, size_t num_threads) {
    const auto num_rows = static_cast<size_t>(row_end - row_begin);
    const auto columns = static_cast<int64_t>(width), length = static_cast<int64_t>(tile);
    num_threads = resolve_threads(num_threads, num_rows * width);
    std::vector<float> row_weight(num_ys * tile), column_weight(num_xs * tile);
    blend_weights(ys, num_ys, tile, overlap, row_begin, row_end, "row", row_weight.data());
    blend_weights(xs, num_xs, tile, overlap, 0, columns, "column", column_weight.data());
    const bool streaming = num_rows * width * sizeof(float) >= kStreamedBytes;
    const std::vector<Segment> segments = segments_of(xs, num_xs, tile, width);

    constexpr size_t kRows = 32;
    parallel_for((num_rows + kRows - 1) / kRows, num_threads, [&](size_t band) {
        std::vector<BlendSource> sources(num_ys * num_xs);
        std::vector<size_t> over;  // tile rows over this row
        std::vector<float> row(streaming ? width : 0);
        for (size_t r = band * kRows; r < std::min(num_rows, (band + 1) * kRows); ++r) {
            const int64_t y = row_begin + static_cast<int64_t>(r);
            float* to = streaming ? row.data() : out + r * width;
            over.clear();
            for (size_t i = 0; i < num_ys; ++i)
                if (y >= ys[i] && y < ys[i] + length) over.push_back(i);
            for (const Segment& segment : segments) {
                size_t count = 0;
                for (const size_t i : over) {
                    const auto inner = static_cast<size_t>(y - ys[i]);
                    for (const size_t j : segment.tiles) {
                        const auto skipped = static_cast<size_t>(static_cast<int64_t>(segment.begin) - xs[j]);
                        sources[count++] = {tiles + ((i * num_xs + j) * tile + inner) * tile + skipped,
                                            column_weight.data() + j * tile + skipped, row_weight[i * tile + inner]};
                    }
                }
                blend_segment(sources.data(), count, segment.end - segment.begin, to + segment.begin);
            }
            if (streaming) stream_row(to, width, out + r * width);
        }
    });
}

#define DINOCELL_GATHER(Pixel, Out)                                                                                \
    template void gather_tiles(const Pixel*, size_t, size_t, size_t, const int64_t*, size_t, const int64_t*, size_t, \
                               size_t, const float*, const float*, float, float, Out*, size_t);
DINOCELL_GATHER(uint8_t, float)
DINOCELL_GATHER(uint16_t, float)
DINOCELL_GATHER(float, float)
DINOCELL_GATHER(uint8_t, uint16_t)
DINOCELL_GATHER(uint16_t, uint16_t)
DINOCELL_GATHER(float, uint16_t)
#undef DINOCELL_GATHER

}  // namespace dinocell
