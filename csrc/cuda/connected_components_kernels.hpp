// Connected components for one thread of a grid; contract in dinocell/connected_components.hpp.
//
// Union-find over pixels in which a part's root is its first pixel in raster order: each pixel joins the neighbours
// before it by atomic minima (Playne & Hawick 2018), then looks up its root, then roots are numbered in order.
#pragma once

#include "for_each.hpp"
#include "ranks.hpp"

namespace dinocell::device {

constexpr uint32_t kBackground = 4294967295u;

DINOCELL_HD uint32_t root_of(const uint32_t* parent, uint32_t p) {
    while (true) {
        const uint32_t up = load_racing(parent + p);
        if (up == p) return p;
        p = up;
    }
}

// Both pixels get one root, the smaller of theirs, whatever other threads do at the same time.
DINOCELL_HD void unite(uint32_t* parent, uint32_t a, uint32_t b) {
    while (true) {
        a = root_of(parent, a);
        b = root_of(parent, b);
        if (a == b) return;
        const uint32_t high = a > b ? a : b, low = a > b ? b : a;
        const uint32_t before = atomic_min(parent + high, low);
        if (before == high) return;  // high was a root and now is below low
        a = before;                  // another thread was faster: join what it wrote
        b = low;
    }
}

struct OwnRoot {
    const uint8_t* mask;
    uint32_t* parent;
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p) const {
        parent[p] = mask[p] != 0 ? static_cast<uint32_t>(p) : kBackground;
        out[p] = 0;
    }
};

struct JoinNeighbours {
    const uint8_t* mask;
    Batch batch;
    bool corners;
    uint32_t* parent;
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        if (mask[p] == 0) return;
        const uint32_t width = batch.width, x = p % width;
        const bool left = x > 0 && mask[p - 1] != 0;
        if (left) unite(parent, p, p - 1);
        if (batch.row_of(p) == 0) return;
        const uint32_t above = p - width;
        if (mask[above] != 0) {
            // a joined left neighbour below a joined one brings this union along
            if (!left || mask[above - 1] == 0) unite(parent, p, above);
        } else if (corners) {
            if (x > 0 && mask[above - 1] != 0) unite(parent, p, above - 1);
        }
        if (corners && x + 1 < width && mask[above + 1] != 0) unite(parent, p, above + 1);
    }
};

struct LookUpRoot {
    uint32_t* parent;
    DINOCELL_HD void operator()(uint64_t p) const {
        if (load_racing(parent + p) != kBackground) store_racing(parent + p, root_of(parent, static_cast<uint32_t>(p)));
    }
};

struct IsRoot {
    const uint32_t* parent;
    DINOCELL_HD bool operator()(uint64_t p) const { return parent[p] == static_cast<uint32_t>(p); }
};

struct NumberRoot {
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const { out[p] = static_cast<int32_t>(rank + 1); }
};

struct TakeNumber {
    const uint32_t* parent;
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p) const {
        const uint32_t root = parent[p];
        if (root != kBackground && root != p) out[p] = out[root];
    }
};

inline size_t components_scratch(const Batch& batch) {
    return batch.pixels() + ranks_scratch({batch.images, batch.pixels_each()});
}

template <typename Run>
void connected_components(const uint8_t* mask, const Batch& batch, int connectivity, int32_t* out, uint32_t* scratch,
                          int32_t* counts, const Run& run) {
    const uint64_t num_pixels = batch.pixels();
    uint32_t* parent = scratch;
    for_each("connected_components: start", OwnRoot{mask, parent, out}, num_pixels, run);
    for_each("connected_components: join", JoinNeighbours{mask, batch, connectivity == 2, parent}, num_pixels, run);
    for_each("connected_components: roots", LookUpRoot{parent}, num_pixels, run);
    rank_flagged("connected_components: number", IsRoot{parent}, NumberRoot{out}, {batch.images, batch.pixels_each()},
                 scratch + num_pixels, counts, run);
    for_each("connected_components: write", TakeNumber{parent, out}, num_pixels, run);
}

}  // namespace dinocell::device
