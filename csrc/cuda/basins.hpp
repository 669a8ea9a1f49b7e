// Basins of a distance map and the passes between them, for one thread of a grid; used by watershed_kernels.hpp.
//
// A pixel of the mask points to its highest neighbour; one without a higher neighbour, or an equal one before it in
// raster order, is a summit. The pixels that lead to a summit are its basin. Then basins grow together from the highest
// pass down, as far as their order matters (Boruvka 1926 with the elder rule): in each round every region looks for its
// highest pass, and those whose pass leads to a region with a higher summit join it. What a region had as its highest
// pass then is where its summit meets a higher one: the summit's prominence is its height above it. The joins form a
// tree over the summits in which the lowest pass between two of them is the one of the image.
#pragma once

#include <cmath>
#include <cstring>

#include "for_each.hpp"
#include "ranks.hpp"

namespace dinocell::device {

constexpr uint32_t kOutside = 4294967295u;  // of the mask
constexpr uint32_t kNoRegion = 4294967295u;

// Unsigned integers that order like the values, and back; 0 is none of them.
DINOCELL_HD uint32_t flood_key(float value) {
    uint32_t bits;
    value += 0.0f;  // turns -0.0 into 0.0
    memcpy(&bits, &value, sizeof bits);
    return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}
DINOCELL_HD float flood_value(uint32_t key) {
    const uint32_t bits = key ^ ((key >> 31) != 0 ? 0x80000000u : 0xffffffffu);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Two summits never touch, so no more than half of an image's pixels are.
inline size_t most_summits(const Batch& batch) { return batch.images * (batch.pixels_each() / 2 + 1); }

// The images, and what is known of their pixels, summits (numbered in raster order through all images) and regions.
struct Basins {
    const float* map;
    Batch batch;
    float fill;

    uint32_t* basin;  // by pixel: first the pixel it points to, then the number of its basin's summit; kOutside
    uint32_t* seams;  // pixels with a neighbour in another basin to their right or below them

    // by summit
    uint32_t* summit;  // its pixel
    uint32_t* region;  // the highest summit it is joined with so far
    uint32_t* parent;  // the higher summit it joined; itself for the highest of a component
    float* pass;       // the level at which it did
    uint32_t* best;    // a region's highest pass in this round, as a key
    uint32_t* higher;  // the region it leads to, if that is higher

    int32_t* num_summits;
    int32_t* num_seams;

    // Calls visit(q) for the neighbours up, left, right, down.
    template <typename Visit>
    DINOCELL_HD void for_each_neighbour(uint32_t p, const Visit& visit) const {
        const uint32_t width = batch.width, x = p % width, y = batch.row_of(p);
        if (y > 0) visit(p - width);
        if (x > 0) visit(p - 1);
        if (x + 1 < width) visit(p + 1);
        if (y + 1 < batch.height) visit(p + width);
    }

    // Calls visit(region, other region, pass as a key) where pixel p and the ones right of it and below it lie in two.
    template <typename Visit>
    DINOCELL_HD void for_each_seam(uint32_t p, const Visit& visit) const {
        for_each_next(p, [&](uint32_t q) {
            if (basin[q] == kOutside || basin[q] == basin[p]) return;
            const uint32_t a = region[basin[p]], b = region[basin[q]];
            if (a != b) visit(a, b, flood_key(map[p] < map[q] ? map[p] : map[q]));
        });
    }

    // Calls visit(q) for the neighbours right and down.
    template <typename Visit>
    DINOCELL_HD void for_each_next(uint32_t p, const Visit& visit) const {
        if (p % batch.width + 1 < batch.width) visit(p + 1);
        if (batch.row_of(p) + 1 < batch.height) visit(p + batch.width);
    }

    // By falling height, then in raster order.
    DINOCELL_HD bool is_higher(uint32_t a, uint32_t b) const {
        const float height_a = map[summit[a]], height_b = map[summit[b]];
        return height_a > height_b || (height_a == height_b && a < b);
    }
};

struct PointUphill {
    Basins b;
    int32_t* nan;  // by image
    DINOCELL_HD void operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        const float here = b.map[p];
        if (here != here) store_racing(nan + b.batch.image_of(p), 1);
        if (!(here > b.fill)) {
            b.basin[p] = kOutside;
            return;
        }
        float best = -INFINITY;
        uint32_t from = p;
        b.for_each_neighbour(p, [&](uint32_t q) {
            if (b.map[q] > best) {
                best = b.map[q];
                from = q;
            }
        });
        b.basin[p] = best > here || (best == here && from < p) ? from : p;
    }
};

// Where the pointers from `at` end. Others may be shortening the chain meanwhile.
DINOCELL_HD uint32_t end_of_chain(const uint32_t* next, uint32_t at) {
    while (true) {
        const uint32_t to = load_racing(next + at);
        if (to == at) return at;
        at = to;
    }
}

struct FollowToSummit {
    Basins b;
    DINOCELL_HD void operator()(uint64_t p) const {
        const auto start = static_cast<uint32_t>(p);
        if (load_racing(b.basin + start) != kOutside) store_racing(b.basin + start, end_of_chain(b.basin, start));
    }
};

struct IsSummit {
    const uint32_t* basin;
    DINOCELL_HD bool operator()(uint64_t p) const { return basin[p] == static_cast<uint32_t>(p); }
};

struct NumberSummit {
    Basins b;
    uint32_t* numbers;  // by pixel
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const {
        numbers[p] = rank;
        b.summit[rank] = static_cast<uint32_t>(p);
        b.region[rank] = b.parent[rank] = rank;
        b.best[rank] = 0;
        b.higher[rank] = kNoRegion;
    }
};

struct TakeBasinNumber {
    Basins b;
    const uint32_t* numbers;
    DINOCELL_HD void operator()(uint64_t p) const {
        if (b.basin[p] != kOutside) b.basin[p] = numbers[b.basin[p]];
    }
};

struct IsSeam {
    Basins b;
    DINOCELL_HD bool operator()(uint64_t pixel) const {
        const auto p = static_cast<uint32_t>(pixel);
        const uint32_t here = b.basin[p];
        if (here == kOutside) return false;
        bool differs = false;
        b.for_each_next(p, [&](uint32_t q) { differs = differs || (b.basin[q] != kOutside && b.basin[q] != here); });
        return differs;
    }
};

struct ListSeam {
    uint32_t* seams;
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const { seams[rank] = static_cast<uint32_t>(p); }
};

// The steps of a round.
struct FindPass {
    Basins b;
    DINOCELL_HD void operator()(uint64_t i) const {
        b.for_each_seam(b.seams[i], [&](uint32_t r, uint32_t s, uint32_t key) {
            atomic_max(b.best + r, key);
            atomic_max(b.best + s, key);
        });
    }
};

// Of equal passes one that leads higher, so that in every round some region joins, if any two touch.
struct ChooseHigher {
    Basins b;
    DINOCELL_HD void operator()(uint64_t i) const {
        b.for_each_seam(b.seams[i], [&](uint32_t r, uint32_t s, uint32_t key) {
            if (key == b.best[r] && b.is_higher(s, r)) atomic_min(b.higher + r, s);
            if (key == b.best[s] && b.is_higher(r, s)) atomic_min(b.higher + s, r);
        });
    }
};

struct JoinHigher {
    Basins b;
    uint32_t* joined;
    DINOCELL_HD void operator()(uint64_t i) const {
        if (b.higher[i] != kNoRegion) {
            b.region[i] = b.parent[i] = b.higher[i];
            b.pass[i] = flood_value(b.best[i]);
            store_racing(joined, uint32_t{1});
        }
        b.best[i] = 0;
        b.higher[i] = kNoRegion;
    }
};

struct FollowRegion {
    Basins b;
    DINOCELL_HD void operator()(uint64_t i) const {
        store_racing(b.region + i, end_of_chain(b.region, static_cast<uint32_t>(i)));
    }
};

// What is left after the rounds of the whole grid: one block goes on until no region joins.
struct JoinTheRest {
    static constexpr int kPhases = 4;
    static constexpr uint32_t kThreads = 1024;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {
        uint32_t joined;
    };
    struct Local {};

    Basins b;
    const uint32_t* go;

    Grid grid() const { return {1, 1, 1}; }
    DINOCELL_HD bool again(const Shared& shared) const { return shared.joined != 0; }

    template <typename Map>
    DINOCELL_HD void for_each(const Thread& at, const int32_t* count, const Map& map) const {
        if (*go == 0) return;
        for (uint64_t i = at.thread.x; i < static_cast<uint64_t>(*count); i += kThreads) map(i);
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        if constexpr (Phase == 0) {
            if (at.thread.x == 0) shared.joined = 0;
            for_each(at, b.num_seams, FindPass{b});
        } else if constexpr (Phase == 1) {
            for_each(at, b.num_seams, ChooseHigher{b});
        } else if constexpr (Phase == 2) {
            for_each(at, b.num_summits, JoinHigher{b, &shared.joined});
        } else {
            for_each(at, b.num_summits, FollowRegion{b});
        }
    }
};

constexpr uint32_t kRounds = 12;  // of the whole grid; one without a join starts no further one

// nan: a number for each image. joined: kRounds words. ranks: ranks_scratch() of all pixels in one segment.
template <typename Run>
void find_basins(const Basins& b, int32_t* nan, uint32_t* joined, uint32_t* ranks, const Run& run) {
    const uint64_t num_pixels = b.batch.pixels();
    const Segments all{1, num_pixels};
    for_each("watershed: uphill", PointUphill{b, nan}, num_pixels, run);
    for_each("watershed: summits", FollowToSummit{b}, num_pixels, run);
    rank_flagged("watershed: number summits", IsSummit{b.basin}, NumberSummit{b, b.seams}, all, ranks, b.num_summits,
                 run);
    for_each("watershed: basins", TakeBasinNumber{b, b.seams}, num_pixels, run);
    rank_flagged("watershed: seams", IsSeam{b}, ListSeam{b.seams}, all, ranks, b.num_seams, run);
    run.fill(joined, 0, kRounds * sizeof(uint32_t));
    const uint64_t summits = most_summits(b.batch);
    for (uint32_t round = 0; round < kRounds; ++round) {
        const uint32_t* go = round == 0 ? nullptr : joined + round - 1;
        const char* name = "watershed: join basins";
        run(name, ForCounted<FindPass>{{b}, b.num_seams, go, num_pixels});
        run(name, ForCounted<ChooseHigher>{{b}, b.num_seams, go, num_pixels});
        run(name, ForCounted<JoinHigher>{{b, joined + round}, b.num_summits, go, summits});
        run(name, ForCounted<FollowRegion>{{b}, b.num_summits, go, summits});
    }
    run("watershed: join the rest", JoinTheRest{b, joined + kRounds - 1});
}

}  // namespace dinocell::device
