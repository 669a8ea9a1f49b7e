// Watershed for one thread of a grid; contract in dinocell/watershed.hpp.
//
// 1. Basins and the tree of their passes (basins.hpp).
// 2. Markers: summits that are prominent enough, or the components of map > peak.
// 3. Levels: the flood enters a basin without marker at the lowest pass on the way up the tree to a summit with one. No
//    other way is higher: what a summit meets above its own pass is lower than itself, so has no marker either.
// 4. Labels: a pixel above its basin's level is under water and takes the label of the pixel over which the water comes
//    in; any other takes that of its highest neighbour, where heights are levels.
// 5. Certificate (see cpu/watershed.cpp): where all highest neighbours of every pixel agree, labels are those of the
//    flood, whatever its order among equals. The pixels of components where some do not are handed back as codes.
#pragma once

#include <algorithm>

#include "basins.hpp"
#include "connected_components_kernels.hpp"

namespace dinocell::device {

struct Flooded {
    Basins b;
    float peak, prominence;
    const int32_t* markers;  // by pixel: the components above peak; null: summits are the markers
    int32_t* label;          // by summit: its marker's number or 0
    float* level;            // by summit: of the flood in its basin; infinite with a marker, -infinite if never flooded
    uint32_t* pit;           // by summit: one for all basins that fill up together
    int32_t* nearest;        // by summit: the label up the tree
    uint64_t* entry;         // by pit: the pixel over which the water comes in, below the key of that one's source
    uint32_t* failed;        // by summit that is a component's highest
    int32_t* out;
    int32_t* num_failed;  // by image

    DINOCELL_HD int32_t marker_at(uint32_t p) const {
        if (markers != nullptr) return b.map[p] > peak ? markers[p] : 0;
        const uint32_t summit = b.basin[p];
        return b.summit[summit] == p ? label[summit] : 0;
    }
    // Of a pixel: less than all levels outside the mask.
    DINOCELL_HD float level_at(uint32_t p) const {
        if (b.basin[p] == kOutside) return -INFINITY;
        const float here = b.map[p], water = level[b.basin[p]];
        return here < water ? here : water;
    }
    DINOCELL_HD bool is_reached(uint32_t p) const { return b.basin[p] != kOutside && level[b.basin[p]] != -INFINITY; }
    DINOCELL_HD bool is_under_water(uint32_t p) const { return is_reached(p) && b.map[p] > level[b.basin[p]]; }
};

struct AbovePeak {
    const float* map;
    float peak;
    uint8_t* mask;
    DINOCELL_HD void operator()(uint64_t p) const { mask[p] = map[p] > peak ? 1 : 0; }
};

struct IsProminent {
    Flooded f;
    DINOCELL_HD bool operator()(uint64_t p) const {
        const uint32_t i = f.b.basin[p];
        if (i == kOutside || f.b.summit[i] != static_cast<uint32_t>(p)) return false;
        const float height = f.b.map[p];
        if (!(height > f.peak)) return false;
        if (f.b.parent[i] == i) return true;
        const float above = height - f.b.pass[i];
        return above >= f.prominence && above > 0.0f;
    }
};

struct NumberMarker {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const {
        f.label[f.b.basin[p]] = static_cast<int32_t>(rank + 1);
    }
};

struct StartSummit {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t i) const {
        f.entry[i] = 0;
        f.failed[i] = 0;
        const uint32_t p = f.b.summit[i];
        f.label[i] = f.markers != nullptr && f.b.map[p] > f.peak ? f.markers[p] : 0;
    }
};

struct FindLevel {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t i) const {
        auto at = static_cast<uint32_t>(i), pit = at;
        float level = INFINITY;
        while (f.label[at] == 0) {
            if (f.b.parent[at] == at) {
                level = -INFINITY;
                break;
            }
            if (f.b.pass[at] < level) {
                level = f.b.pass[at];
                pit = at;
            }
            at = f.b.parent[at];
        }
        f.level[i] = level;
        f.pit[i] = pit;
        f.nearest[i] = f.label[at];
    }
};

// A pit's entry is a pixel as high as its level that has a higher neighbour; of several the one with the highest.
struct FindEntry {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        if (!f.is_under_water(p)) return;
        const float level = f.level[f.b.basin[p]];
        f.b.for_each_neighbour(p, [&](uint32_t q) {
            if (f.b.map[q] != level || f.level_at(q) != level) return;
            float source = level;
            f.b.for_each_neighbour(q, [&](uint32_t r) {
                const float there = f.level_at(r);
                source = there > source ? there : source;
            });
            if (source > level)
                atomic_max(f.entry + f.pit[f.b.basin[p]],
                           static_cast<uint64_t>(flood_key(source)) << 32 | (kOutside - q));
        });
    }
};

// Labels, and for pixels that get theirs from another one ~ that pixel.
struct PointToGiver {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        f.out[p] = f.is_reached(p) ? giver(p) : 0;
    }

    DINOCELL_HD int32_t giver(uint32_t p) const {
        const int32_t marker = f.marker_at(p);
        if (marker != 0) return marker;
        const uint32_t summit = f.b.basin[p];
        if (f.is_under_water(p)) {
            const uint64_t entry = f.entry[f.pit[summit]];
            return entry != 0 ? ~static_cast<int32_t>(kOutside - static_cast<uint32_t>(entry)) : f.nearest[summit];
        }
        float best = -INFINITY;
        uint32_t from = p;
        f.b.for_each_neighbour(p, [&](uint32_t q) {
            const float there = f.level_at(q);
            if (there > best) {
                best = there;
                from = q;
            }
        });
        const float here = f.b.map[p];
        return best > here || (best == here && from < p) ? ~static_cast<int32_t>(from) : f.nearest[summit];
    }
};

struct FollowToLabel {
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p) const {
        int32_t at = load_racing(out + p);
        while (at < 0) at = load_racing(out + ~at);
        store_racing(out + p, at);
    }
};

struct CheckLabel {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        if (!f.is_reached(p) || f.marker_at(p) != 0) return;
        float best = -INFINITY;
        bool agree = true;
        f.b.for_each_neighbour(p, [&](uint32_t q) {
            const float there = f.level_at(q);
            const bool same = f.out[q] == f.out[p];
            agree = there > best ? same : agree && (same || there < best);
            best = there > best ? there : best;
        });
        if (!agree && atomic_max(f.failed + f.b.region[f.b.basin[p]], 1) == 0)
            atomic_add(reinterpret_cast<uint32_t*>(f.num_failed) + f.b.batch.image_of(p), 1);
    }
};

// The pixels of components in doubt become ~marker: -1 without one.
struct HandBack {
    Flooded f;
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        if (f.num_failed[f.b.batch.image_of(p)] == 0 || f.b.basin[p] == kOutside) return;
        if (f.failed[f.b.region[f.b.basin[p]]] == 0) return;
        f.out[p] = ~f.marker_at(p);
    }
};

// Hands out the parts of the scratch, each on a boundary of 8 bytes.
struct Parts {
    uint64_t* base;
    size_t used;

    template <typename T>
    T* take(size_t count) {
        T* part = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
        used += (count * sizeof(T) + sizeof(uint64_t) - 1) / sizeof(uint64_t);
        return part;
    }
};

struct WatershedMemory {
    Flooded f;
    uint32_t* joined;
    uint32_t* ranks;
    uint8_t* above_peak;
    uint32_t* components;
    int32_t* markers;
};

inline WatershedMemory watershed_memory(Parts& parts, const Batch& batch, bool by_prominence) {
    WatershedMemory m{};
    const size_t num_pixels = batch.pixels(), summits = most_summits(batch);
    m.f.entry = parts.take<uint64_t>(summits);
    m.f.b.basin = parts.take<uint32_t>(num_pixels);
    m.f.b.seams = parts.take<uint32_t>(num_pixels);
    for (uint32_t** by_summit :
         {&m.f.b.summit, &m.f.b.region, &m.f.b.parent, &m.f.b.best, &m.f.b.higher, &m.f.pit, &m.f.failed})
        *by_summit = parts.take<uint32_t>(summits);
    m.f.b.pass = parts.take<float>(summits);
    m.f.level = parts.take<float>(summits);
    m.f.label = parts.take<int32_t>(summits);
    m.f.nearest = parts.take<int32_t>(summits);
    m.f.b.num_summits = parts.take<int32_t>(1);
    m.f.b.num_seams = parts.take<int32_t>(1);
    m.joined = parts.take<uint32_t>(kRounds);
    m.ranks = parts.take<uint32_t>(
        std::max(ranks_scratch({1, num_pixels}), ranks_scratch({batch.images, batch.pixels_each()})));
    if (!by_prominence) {
        m.above_peak = parts.take<uint8_t>(num_pixels);
        m.components = parts.take<uint32_t>(components_scratch(batch));
        m.markers = parts.take<int32_t>(num_pixels);
    }
    return m;
}

// Words of 8 bytes.
inline size_t watershed_scratch(const Batch& batch, bool by_prominence) {
    Parts parts{nullptr, 0};
    watershed_memory(parts, batch, by_prominence);
    return parts.used;
}

template <typename Run>
void watershed(const float* map, const Batch& batch, float peak, float fill, float prominence, int32_t* out,
               uint64_t* scratch, int32_t* status, const Run& run) {
    const uint64_t num_pixels = batch.pixels(), summits = most_summits(batch);
    const bool by_prominence = prominence >= 0.0f;
    Parts parts{scratch, 0};
    WatershedMemory m = watershed_memory(parts, batch, by_prominence);
    m.f.b.map = map;
    m.f.b.batch = batch;
    m.f.b.fill = fill;
    m.f.peak = peak;
    m.f.prominence = prominence;
    m.f.markers = m.markers;
    m.f.out = out;
    int32_t* num_labels = status;
    m.f.num_failed = status + batch.images;
    run.fill(status, 0, 3 * sizeof(int32_t) * batch.images);
    const Flooded& f = m.f;

    find_basins(f.b, status + 2 * static_cast<size_t>(batch.images), m.joined, m.ranks, run);
    if (!by_prominence) {
        for_each("watershed: peaks", AbovePeak{map, peak, m.above_peak}, num_pixels, run);
        connected_components(m.above_peak, batch, 1, m.markers, m.components, num_labels, run);
    }
    run("watershed: start", ForCounted<StartSummit>{{f}, f.b.num_summits, nullptr, summits});
    if (by_prominence)
        rank_flagged("watershed: markers", IsProminent{f}, NumberMarker{f}, {batch.images, batch.pixels_each()},
                     m.ranks, num_labels, run);
    run("watershed: levels", ForCounted<FindLevel>{{f}, f.b.num_summits, nullptr, summits});
    for_each("watershed: entries", FindEntry{f}, num_pixels, run);
    for_each("watershed: givers", PointToGiver{f}, num_pixels, run);
    for_each("watershed: labels", FollowToLabel{out}, num_pixels, run);
    for_each("watershed: check", CheckLabel{f}, num_pixels, run);
    for_each("watershed: hand back", HandBack{f}, num_pixels, run);
}

}  // namespace dinocell::device
