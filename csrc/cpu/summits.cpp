#include "summits.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include "component_fills.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "summits.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
bool has_summit(Arguments&&... arguments) {
    DINOCELL_DISPATCH(has_summit(arguments...))
}

}  // namespace

template <typename Value>
std::vector<uint32_t> only_summits(const WatershedImage<Value>& image, const MaskComponents& mask,
                                   const std::vector<uint32_t>& only_peaks) {
    const size_t height = image.height, width = image.width;
    const std::vector<Value> outside(width, -std::numeric_limits<Value>::infinity());
    std::vector<uint32_t> only(only_peaks.size(), kNone);
    const auto add = [&](uint32_t component, size_t pixel) {
        const std::atomic_ref<uint32_t> held(only[component]);
        uint32_t before = kNone;
        if (!held.compare_exchange_strong(before, static_cast<uint32_t>(pixel))) held = kSeveral;
    };
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            const Value* const row = image.map + y * width;
            const Value* const up = y == 0 ? outside.data() : row - width;
            const Value* const down = y + 1 == height ? outside.data() : row + width;
            const auto is_summit = [&](size_t x) {
                const Value here = row[x];
                return up[x] < here && (x == 0 || row[x - 1] < here) && (x + 1 == width || row[x + 1] <= here) &&
                       down[x] <= here;
            };
            const RowRuns line = mask.row(y);
            for (size_t i = 0; i < line.count; ++i) {
                const auto [begin, end] = line.runs[i];
                const uint32_t component = line.components[i];
                if (only_peaks[component] == kNone) continue;
                const bool at_border = begin == 0 || end == width;
                if (!at_border && !has_summit(up, row, down, size_t{begin}, size_t{end})) continue;
                for (size_t x = begin; x < end; ++x)
                    if (is_summit(x)) add(component, y * width + x);
            }
        }
    });
    return only;
}

template std::vector<uint32_t> only_summits(const WatershedImage<float>&, const MaskComponents&,
                                            const std::vector<uint32_t>&);
template std::vector<uint32_t> only_summits(const WatershedImage<double>&, const MaskComponents&,
                                            const std::vector<uint32_t>&);

}  // namespace dinocell
