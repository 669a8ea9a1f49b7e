// Contingency tables for one thread of a grid; contract in dinocell/label_overlap.hpp.
//
// Pairs are counted in hash tables with open addressing (linear probing), first one for each block
// in shared memory, then one for the image, whose slots in use are listed. Slots are claimed by compare-and-swap and
// never given back, so a pair has one slot whatever the order; sorting the list makes the result independent of it.
#pragma once

#include "ranks.hpp"

namespace dinocell::device {

constexpr uint64_t kNoPair = ~uint64_t{0};

// Keys that order, as unsigned numbers, as pairs of labels do. Labels lie within 32 bits.
template <typename Label>
DINOCELL_HD uint64_t pair_key(Label truth, Label predicted) {
    constexpr uint32_t kSign = 0x80000000u;
    const auto high = static_cast<uint32_t>(static_cast<int64_t>(truth)) ^ kSign;
    const auto low = static_cast<uint32_t>(static_cast<int64_t>(predicted)) ^ kSign;
    return static_cast<uint64_t>(high) << 32 | low;
}

// The finaliser of MurmurHash3: all bits of a key reach the low bits, also where both labels are the same.
DINOCELL_HD uint64_t pair_hash(uint64_t key) {
    key = (key ^ key >> 33) * 0xff51afd7ed558ccdu;
    key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53u;
    return key ^ key >> 33;
}

// Adds `count` pixels to a pair's slot, within `probes` slots from its hash; whether there was one.
DINOCELL_HD bool add_pixels(uint64_t* keys, uint32_t* pixels, uint64_t capacity, uint32_t probes, uint64_t key,
                            uint32_t count) {
    uint64_t at = pair_hash(key);
    for (uint32_t probe = 0; probe < probes; ++probe, ++at) {
        at &= capacity - 1;
        const uint64_t before = atomic_exchange_if(keys + at, kNoPair, key);
        if (before == kNoPair || before == key) {
            atomic_add(pixels + at, count);
            return true;
        }
    }
    return false;
}

// The table: a power of two of slots, and one more for the pair whose key is kNoPair.
struct PairSlots {
    static constexpr uint32_t kProbes = 64;
    uint64_t* keys;
    uint32_t* pixels;
    uint64_t capacity;
    int32_t* overflowed;

    DINOCELL_HD void add(uint64_t key, uint32_t count) const {
        if (key == kNoPair)
            atomic_add(pixels + capacity, count);
        else if (!add_pixels(keys, pixels, capacity, kProbes, key, count))
            store_racing(overflowed, 1);
    }
};

// A block counts in a small table of its own first: most pixels are of few pairs, on which atomics would queue up.
template <typename Label>
struct CountPairs {
    static constexpr int kPhases = 3;
    static constexpr uint32_t kThreads = 256, kEach = 16, kSlots = 512, kProbes = 8;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {
        uint64_t keys[kSlots];
        uint32_t pixels[kSlots];
    };
    struct Local {};

    const Label* truth;
    const Label* predicted;
    uint64_t num_pixels;
    PairSlots slots;

    Grid grid() const { return {blocks_for(num_pixels, kThreads * kEach), 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        if constexpr (Phase == 0) {
            for (uint32_t slot = at.thread.x; slot < kSlots; slot += kThreads) {
                shared.keys[slot] = kNoPair;
                shared.pixels[slot] = 0;
            }
        } else if constexpr (Phase == 1) {
            uint64_t p = (static_cast<uint64_t>(at.block.x) * kThreads + at.thread.x) * kEach;
            const uint64_t end = p + kEach < num_pixels ? p + kEach : num_pixels;
            while (p < end) {
                const Label a = truth[p], b = predicted[p];
                uint32_t length = 0;
                for (; p < end && truth[p] == a && predicted[p] == b; ++p) ++length;
                const uint64_t key = pair_key(a, b);
                if (key == kNoPair || !add_pixels(shared.keys, shared.pixels, kSlots, kProbes, key, length))
                    slots.add(key, length);
            }
        } else {
            for (uint32_t slot = at.thread.x; slot < kSlots; slot += kThreads)
                if (shared.pixels[slot] != 0) slots.add(shared.keys[slot], shared.pixels[slot]);
        }
    }
};

struct IsUsed {
    const uint32_t* pixels;
    DINOCELL_HD bool operator()(uint64_t slot) const { return pixels[slot] != 0; }
};

struct ListPair {
    PairSlots slots;
    uint64_t* pairs;
    int64_t* counts;
    DINOCELL_HD void operator()(uint64_t slot, uint32_t rank) const {
        pairs[rank] = slot == slots.capacity ? kNoPair : slots.keys[slot];
        counts[rank] = slots.pixels[slot];
    }
};

// Words of scratch for a table of `capacity` slots.
inline size_t overlap_scratch(size_t capacity) {
    return 2 * (capacity + 1) + (capacity + 1) + ranks_scratch({1, capacity + 1});
}

template <typename Label, typename Run>
void label_overlap(const Label* truth, const Label* predicted, size_t size, size_t capacity, uint64_t* pairs,
                   int64_t* counts, uint64_t* scratch, int32_t* status, const Run& run) {
    auto* pixels = reinterpret_cast<uint32_t*>(scratch + capacity + 1);
    const PairSlots slots{scratch, pixels, capacity, status + 1};
    run.fill(scratch, 0xff, (capacity + 1) * sizeof(uint64_t));  // kNoPair
    run.fill(pixels, 0, (capacity + 1) * sizeof(uint32_t));
    run.fill(status, 0, 2 * sizeof(int32_t));
    run("label_overlap: count", CountPairs<Label>{truth, predicted, size, slots});
    rank_flagged("label_overlap: list", IsUsed{pixels}, ListPair{slots, pairs, counts}, {1, capacity + 1},
                 pixels + capacity + 1, status, run);
}

}  // namespace dinocell::device
