#include "component_fills.hpp"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "simd.hpp"

namespace dinocell {
namespace {

struct RowEdges {
    explicit RowEdges(size_t width)
        : mask_bits(width / 64 + 1), marker_bits(width / 64 + 1), mask(width + 2), markers(width + 2) {}
    std::vector<uint64_t> mask_bits, marker_bits;
    std::vector<uint32_t> mask, markers;
    size_t num_mask = 0, num_markers = 0;
};

struct RowFill {
    size_t begin, end;
    int32_t value;
};

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "component_fills.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
bool threshold_edges(Arguments&&... arguments) {
    DINOCELL_DISPATCH(threshold_edges(arguments...))
}
template <typename... Arguments>
void fill_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(fill_row(arguments...))
}

}  // namespace

template <typename Value>
void threshold(const WatershedImage<Value>& image, Value fill, Value peak, MaskComponents& mask,
               MaskComponents& markers) {
    std::atomic<bool> nan{false};
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        RowEdges edges(image.width);
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            if (threshold_edges(image.map + y * image.width, image.width, fill, peak, edges)) nan = true;
            mask.band(band).add_row(edges.mask.data(), edges.num_mask);
            markers.band(band).add_row(edges.markers.data(), edges.num_markers);
        }
        mask.band(band).number();
        markers.band(band).number();
    });
    if (nan) throw std::invalid_argument("the distance map holds NaN");
}

template <typename Value>
std::vector<uint32_t> only_markers(const WatershedImage<Value>& image, const MaskComponents& mask,
                                   const MaskComponents& markers, size_t num_components) {
    std::vector<uint32_t> only(num_components, kNone);
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y)
            for_each_within(markers.row(y), mask.row(y), [&](Run, uint32_t marker, uint32_t component) {
                const std::atomic_ref<uint32_t> held(only[component]);
                uint32_t before = held.load(std::memory_order_relaxed);
                while (before != marker && before != kSeveral &&
                       !held.compare_exchange_weak(before, before == kNone ? marker : kSeveral)) {
                }
            });
    });
    return only;
}

std::vector<uint8_t> where_several(const std::vector<uint32_t>& only) {
    std::vector<uint8_t> several(only.size());
    std::transform(only.begin(), only.end(), several.begin(), [](uint32_t marker) { return marker == kSeveral; });
    return several;
}

template <typename Value>
void write_open(WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint8_t>& contested) {
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            const RowRuns line = mask.row(y);
            int32_t* const row = image.labels + y * image.width;
            std::fill(row, row + image.width, 0);
            for (size_t i = 0; i < line.count; ++i) {
                if (!contested[line.components[i]]) continue;
                image.open_rows[y] = 1;
                std::fill(row + line.runs[i].begin, row + line.runs[i].end, kOpen);
            }
        }
    });
}

template <typename Value>
void write_lone(const WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint32_t>& only) {
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            const RowRuns line = mask.row(y);
            int32_t* const row = image.labels + y * image.width;
            for (size_t i = 0; i < line.count; ++i)
                if (const uint32_t marker = only[line.components[i]]; marker < kSeveral)
                    std::fill(row + line.runs[i].begin, row + line.runs[i].end, static_cast<int32_t>(marker + 1));
        }
    });
}

template <typename Value>
void write_fills(WatershedImage<Value>& image, const MaskComponents& mask, const std::vector<uint32_t>& only) {
    const size_t width = image.width;
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        std::vector<RowFill> fills(width + 1);
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            const RowRuns line = mask.row(y);
            size_t x = 0, count = 0;
            for (size_t i = 0; i < line.count; ++i) {
                const auto [begin, end] = line.runs[i];
                const uint32_t marker = only[line.components[i]];
                int32_t value = static_cast<int32_t>(marker + 1);  // kNone becomes 0
                if (marker == kSeveral) {
                    value = kOpen;
                    image.open_rows[y] = 1;
                }
                if (begin > x) fills[count++] = {x, begin, 0};
                fills[count++] = {begin, end, value};
                x = end;
            }
            if (width > x) fills[count++] = {x, width, 0};
            fill_row(fills.data(), count, image.labels + y * width, width);
        }
    });
}

template <typename Value>
void write_markers(const WatershedImage<Value>& image, const MaskComponents& mask, const MaskComponents& markers,
                   const std::vector<uint32_t>& only) {
    for_each_open_row(image, [&](size_t y) {
        int32_t* const row = image.labels + y * image.width;
        for_each_within(markers.row(y), mask.row(y), [&](Run run, uint32_t marker, uint32_t component) {
            if (only[component] == kSeveral)
                std::fill(row + run.begin, row + run.end, static_cast<int32_t>(marker + 1));
        });
    });
}

#define DINOCELL_FILLS(Value)                                                                                    \
    template void threshold(const WatershedImage<Value>&, Value, Value, MaskComponents&, MaskComponents&);       \
    template std::vector<uint32_t> only_markers(const WatershedImage<Value>&, const MaskComponents&,             \
                                                const MaskComponents&, size_t);                                  \
    template void write_open(WatershedImage<Value>&, const MaskComponents&, const std::vector<uint8_t>&);        \
    template void write_lone(const WatershedImage<Value>&, const MaskComponents&, const std::vector<uint32_t>&); \
    template void write_fills(WatershedImage<Value>&, const MaskComponents&, const std::vector<uint32_t>&);      \
    template void write_markers(const WatershedImage<Value>&, const MaskComponents&, const MaskComponents&,      \
                                const std::vector<uint32_t>&);
DINOCELL_FILLS(float)
DINOCELL_FILLS(double)
#undef DINOCELL_FILLS

}  // namespace dinocell
