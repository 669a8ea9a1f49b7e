#include "label_doubts.hpp"

#include <algorithm>

#include "flood.hpp"
#include "flood_order.hpp"
#include "row_window.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "label_doubts.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

constexpr size_t kMaxDoubts = 4096;  // in one component, to be settled one by one
constexpr size_t kSteps = 20000;     // for settling one

template <typename... Arguments>
bool certain_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(certain_row(arguments...))
}
template <typename... Arguments>
void label_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(label_row(arguments...))
}
template <typename... Arguments>
void level_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(level_row(arguments...))
}

}  // namespace

template <typename Value>
std::vector<Doubt> find_doubts(const WatershedImage<Value>& image, const Markers<Value>& markers,
                               const MaskComponents& mask, const std::vector<uint8_t>& contested,
                               const PitLevels<Value>& basins, const std::vector<uint8_t>& pit_rows) {
    const size_t height = image.height, width = image.width;
    std::vector<std::vector<Doubt>> found(image.bands.count());
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        RowWindow<Value> levels(width, -std::numeric_limits<Value>::infinity());
        RowWindow<int32_t> labels(width, 0);
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            if (!image.open_rows[y]) continue;
            labels.move(y, height, [&](size_t row, int32_t* to) {
                const int32_t* const here = image.labels + row * width;
                if (pit_rows[row])
                    label_row(here, basins.labels().data(), basins.labels().size(), width, to);
                else
                    std::copy_n(here, width, to);
            });
            levels.move(y, height, [&](size_t row, Value* to) {
                const Value* const here = image.map + row * width;
                if (pit_rows[row])
                    level_row(here, image.labels + row * width, basins.levels().data(), basins.levels().size(), width,
                              to);
                else
                    std::copy_n(here, width, to);
            });
            const auto certain = [&](size_t x, size_t count) {
                return certain_row(levels.up() + x, levels.row() + x, levels.down() + x, labels.up() + x,
                                   labels.row() + x, labels.down() + x, markers.limit(), count);
            };
            if (certain(0, width)) continue;
            const RowRuns line = mask.row(y);
            for (size_t i = 0; i < line.count; ++i)
                for (size_t x = line.runs[i].begin; contested[line.components[i]] && x < line.runs[i].end; ++x)
                    if (!certain(x, 1) && !markers.hold(image, y * width + x))
                        found[band].push_back({y * width + x, line.components[i]});
        }
    });
    std::vector<Doubt> all;
    for (const auto& doubts : found) all.insert(all.end(), doubts.begin(), doubts.end());
    return all;
}

template <typename Value>
std::vector<uint8_t> settle_doubts(const WatershedImage<Value>& image, const Markers<Value>& markers, Value fill,
                                   const std::vector<Doubt>& doubts, const PitLevels<Value>& basins,
                                   size_t num_components) {
    const size_t height = image.height, width = image.width;
    const Value* const map = image.map;
    int32_t* const labels = image.labels;
    std::vector<uint8_t> failed_components(num_components, 0);
    std::vector<uint32_t> doubts_of(num_components, 0);
    for (const Doubt& doubt : doubts) ++doubts_of[doubt.component];
    const auto label_of = [&](size_t p) { return basins.labels()[static_cast<size_t>(labels[p])]; };
    const auto level = [&](size_t p) { return std::min(map[p], basins.levels()[static_cast<size_t>(labels[p])]); };
    const auto is_marker = [&](size_t p) { return markers.hold(image, p); };
    std::vector<size_t> changed;
    for (const Doubt& doubt : doubts) {
        uint8_t& failed = failed_components[doubt.component];
        if (failed) continue;
        FloodOrder order(height, width, level, is_marker, kSteps);
        const auto take = [&](size_t p, size_t giver) {
            if (label_of(p) == label_of(giver)) return;
            // Under water a pixel's level hangs on the pit it belongs to, which its new label would not tell.
            failed |= map[p] != level(p);
            labels[p] = label_of(giver);
            changed.push_back(p);
        };
        failed = doubts_of[doubt.component] > kMaxDoubts;
        if (!failed) take(doubt.pixel, order.giver(doubt.pixel));
        while (!changed.empty() && !failed) {
            const size_t p = changed.back();
            changed.pop_back();
            for_each_neighbour<1>(p, border_bits(p / width, p % width, height, width), width, [&](size_t q) {
                if (map[q] > fill && !is_marker(q) && order.giver(q) == p) take(q, p);
            });
            failed |= order.gave_up();
        }
        failed |= order.gave_up();
        changed.clear();
    }
    return failed_components;
}

template <typename Value>
void rename_basins(const WatershedImage<Value>& image, const std::vector<int32_t>& numbers,
                   const std::vector<uint8_t>& rows) {
    for_each_open_row(image, [&](size_t y) {
        int32_t* const row = image.labels + y * image.width;
        if (rows[y]) label_row(row, numbers.data(), numbers.size(), image.width, row);
    });
}

#define DINOCELL_DOUBTS(Value)                                                                               \
    template std::vector<Doubt> find_doubts(const WatershedImage<Value>&, const Markers<Value>&,             \
                                            const MaskComponents&, const std::vector<uint8_t>&,              \
                                            const PitLevels<Value>&, const std::vector<uint8_t>&);           \
    template std::vector<uint8_t> settle_doubts(const WatershedImage<Value>&, const Markers<Value>&, Value,  \
                                                const std::vector<Doubt>&, const PitLevels<Value>&, size_t); \
    template void rename_basins(const WatershedImage<Value>&, const std::vector<int32_t>&, const std::vector<uint8_t>&);
DINOCELL_DOUBTS(float)
DINOCELL_DOUBTS(double)
#undef DINOCELL_DOUBTS

}  // namespace dinocell
