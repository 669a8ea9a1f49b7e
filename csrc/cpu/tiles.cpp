#include "dinocell/tiles.hpp"

#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "checked.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

// Results from this size on are written past the caches: they would not fit there anyway.
constexpr size_t kStreamedBytes = cut_size(size_t{32} << 20, 4096);

struct Scaling {
    float scale, offset, low, high;
};

// The columns of a tile: it begins at column `first` of the image, and [left, right) of it lie inside. The others are
// mirrored once about the nearer border pixel, or given by `from`.
struct TileColumns {
    ptrdiff_t first;
    size_t left, right, width;
    const size_t* from;
};

// A tile's part of a block of the image: its pixels, and their weights along the rows and down the columns.
struct BlendSource {
    const float* pixels;
    const float* weights;
    const float* row_weights;
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
void stream_values(Arguments&&... arguments) {
    DINOCELL_DISPATCH(stream_values(arguments...))
}
template <typename... Arguments>
void blend_block(Arguments&&... arguments) {
    DINOCELL_DISPATCH(blend_block(arguments...))
}

// numpy's "reflect": ... 2 1 0 1 2 ... n-2 n-1 n-2 ...
size_t mirrored(int64_t position, size_t length) {
    if (length == 1) return 0;
    const auto period = static_cast<int64_t>(2 * (length - 1));
    int64_t folded = position % period;
    if (folded < 0) folded += period;
    return static_cast<size_t>(std::min(folded, period - folded));
}

// Positions [begin, end) of an axis that lie under the same tiles.
struct Segment {
    size_t begin, end;
    std::vector<size_t> tiles;
};

// Segments of [0, extent) no longer than `longest`. starts: where tiles begin.
std::vector<Segment> segments_of(const int64_t* starts, size_t num_starts, size_t tile, int64_t origin, size_t extent,
                                 size_t longest) {
    const auto length = static_cast<int64_t>(tile);
    const auto clamped = [&](int64_t p) {
        return static_cast<size_t>(std::clamp<int64_t>(p - origin, 0, static_cast<int64_t>(extent)));
    };
    std::vector<size_t> cuts{extent};
    for (size_t p = 0; p < extent; p += longest) cuts.push_back(p);
    for (size_t t = 0; t < num_starts; ++t) {
        cuts.push_back(clamped(starts[t]));
        cuts.push_back(clamped(starts[t] + length));
    }
    std::sort(cuts.begin(), cuts.end());
    std::vector<Segment> segments;
    for (size_t k = 1; k < cuts.size(); ++k) {
        if (cuts[k - 1] == cuts[k]) continue;
        Segment segment{cuts[k - 1], cuts[k], {}};
        const int64_t p = origin + static_cast<int64_t>(segment.begin);
        for (size_t t = 0; t < num_starts; ++t)
            if (starts[t] <= p && p < starts[t] + length) segment.tiles.push_back(t);
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
    const auto positions = [&](const int64_t* starts, size_t count, size_t extent) {
        std::vector<size_t> in_image(count * tile);
        for (size_t t = 0; t < count; ++t)
            for (size_t i = 0; i < tile; ++i)
                in_image[t * tile + i] = mirrored(starts[t] + static_cast<int64_t>(i), extent);
        return in_image;
    };
    const std::vector<size_t> row_in_image = positions(ys, num_ys, height),
                              column_in_image = positions(xs, num_xs, width);

    parallel_for(
        num_ys * num_xs * channels, num_threads, [&] { return std::vector<Pixel>(tile); },
        [&](size_t task, std::vector<Pixel>& row) {
            const size_t i = task / (num_xs * channels), j = task / channels % num_xs, c = task % channels;
            const size_t* const rows = row_in_image.data() + i * tile;
            const auto row_of = [&](size_t y) {
                DINOCELL_CHECK(y < tile && rows[y] < height);
                return image + (c * height + rows[y]) * width;
            };
            const auto clamped = [&](int64_t x) { return static_cast<size_t>(std::clamp<int64_t>(x, 0, length)); };
            const size_t left = clamped(-xs[j]), right = std::max(left, clamped(static_cast<int64_t>(width) - xs[j]));
            const bool once = left < width && tile - right < width && left < right;
            const TileColumns columns{xs[j], left, right, width, once ? nullptr : column_in_image.data() + j * tile};
            gather_tile<Pixel>(row_of, columns, tile, Scaling{scale[c], offset[c], low, high}, streaming, row.data(),
                               out + task * tile * tile);
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
    for (size_t t = 0; t < num_starts; ++t) for_each_position(t, [&](size_t p, size_t i) { sum[p] += ramp[i]; });
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
    num_threads = resolve_threads(num_threads, num_rows * width);
    std::vector<float> row_weight(num_ys * tile), column_weight(num_xs * tile);
    blend_weights(ys, num_ys, tile, overlap, row_begin, row_end, "row", row_weight.data());
    blend_weights(xs, num_xs, tile, overlap, 0, static_cast<int64_t>(width), "column", column_weight.data());
    const bool streaming = num_rows * width * sizeof(float) >= kStreamedBytes;
    // Long pieces of a tile are read faster; rows that are still to be streamed must fit a cache.
    const size_t longest = streaming ? 16 : 64;
    const std::vector<Segment> row_segments = segments_of(ys, num_ys, tile, row_begin, num_rows, longest);
    const std::vector<Segment> column_segments = segments_of(xs, num_xs, tile, 0, width, width);

    struct Scratch {
        std::vector<BlendSource> sources;
        std::vector<float> rows;
    };
    const auto scratch = [&] {
        return Scratch{std::vector<BlendSource>(num_ys * num_xs), std::vector<float>(streaming ? longest * width : 0)};
    };
    parallel_for(row_segments.size(), num_threads, scratch, [&](size_t task, Scratch& mine) {
        const Segment& rows = row_segments[task];
        const size_t height = rows.end - rows.begin;
        float* const to = streaming ? mine.rows.data() : out + rows.begin * width;
        for (const Segment& columns : column_segments) {
            size_t count = 0;
            for (const size_t i : rows.tiles) {
                const auto y = static_cast<size_t>(row_begin + static_cast<int64_t>(rows.begin) - ys[i]);
                for (const size_t j : columns.tiles) {
                    const auto x = static_cast<size_t>(static_cast<int64_t>(columns.begin) - xs[j]);
                    mine.sources[count++] = {tiles + ((i * num_xs + j) * tile + y) * tile + x,
                                             column_weight.data() + j * tile + x, row_weight.data() + i * tile + y};
                }
            }
            DINOCELL_CHECK(count > 0 && columns.end <= width && rows.end <= num_rows);
            blend_block(mine.sources.data(), count, tile, height, columns.end - columns.begin, to + columns.begin,
                        width);
        }
        if (streaming) stream_values(to, height * width, out + rows.begin * width);
    });
}

#define DINOCELL_GATHER(Pixel, Out)                                                                                  \
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
