// Numbers for the flagged ones among many items, in order: a prefix sum in three launches.
//
// Items stand in segments, all of one size (the images of a batch), and ranks begin anew in each.
#pragma once

#include "launch.hpp"

namespace dinocell::device {

constexpr uint32_t kRankThreads = 256, kRankEach = 8, kRankItems = kRankThreads * kRankEach;

struct Segments {
    uint64_t count, size;

    DINOCELL_HD uint64_t blocks_each() const { return blocks_for(size, kRankItems); }
    DINOCELL_HD uint64_t blocks() const { return count * blocks_each(); }
};

// Words of scratch that `rank_flagged` needs.
inline size_t ranks_scratch(const Segments& segments) { return segments.blocks() + 1; }

// Exclusive sums of a block's counts in two short steps instead of a long one: threads write `count`; after
// `add_groups` and then `add_all`, each in a phase of its own, a thread's `before` is what those before it counted.
template <uint32_t Threads>
struct BlockSums {
    static constexpr uint32_t kGroup = 16, kGroups = Threads / kGroup;
    static_assert(Threads % kGroup == 0 && kGroups <= Threads);
    uint32_t count[Threads];
    uint32_t group[kGroups];

    DINOCELL_HD void add_groups(uint32_t thread) {
        if (thread >= kGroups) return;
        uint32_t sum = 0;
        for (uint32_t k = thread * kGroup; k < (thread + 1) * kGroup; ++k) {
            const uint32_t own = count[k];
            count[k] = sum;
            sum += own;
        }
        group[thread] = sum;
    }
    // For one thread; returns the sum of all.
    DINOCELL_HD uint32_t add_all() {
        uint32_t sum = 0;
        for (uint32_t k = 0; k < kGroups; ++k) {
            const uint32_t own = group[k];
            group[k] = sum;
            sum += own;
        }
        return sum;
    }
    DINOCELL_HD uint32_t before(uint32_t thread) const { return group[thread / kGroup] + count[thread]; }
};

// Which items a thread of CountFlags and GiveRanks looks at: [first, last).
struct RankItems {
    uint64_t first, last;
};

DINOCELL_HD RankItems rank_items(const Segments& segments, const Thread& at) {
    const auto blocks_each = static_cast<uint32_t>(segments.blocks_each());
    const uint32_t segment = segments.count == 1 ? 0 : at.block.x / blocks_each;
    const uint32_t block = at.block.x - segment * blocks_each;
    const uint64_t inside = static_cast<uint64_t>(block) * kRankItems + at.thread.x * kRankEach;
    const uint64_t first = segment * segments.size + inside;
    if (inside >= segments.size) return {first, first};
    const uint64_t left = segments.size - inside;
    return {first, first + (left < kRankEach ? left : kRankEach)};
}

// How many flags each block of kRankItems holds.
template <typename Flag>
struct CountFlags {
    static constexpr int kPhases = 3;
    static constexpr Size3 kBlock{kRankThreads, 1, 1};
    using Shared = BlockSums<kRankThreads>;
    struct Local {};

    Flag flag;
    Segments segments;
    uint32_t* block_counts;

    Grid grid() const { return {segments.blocks(), 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        if constexpr (Phase == 0) {
            const RankItems items = rank_items(segments, at);
            uint32_t count = 0;
            for (uint64_t i = items.first; i < items.last; ++i) count += flag(i) ? 1 : 0;
            shared.count[at.thread.x] = count;
        } else if constexpr (Phase == 1) {
            shared.add_groups(at.thread.x);
        } else {
            if (at.thread.x == 0) block_counts[at.block.x] = shared.add_all();
        }
    }
};

// Block counts become first ranks, in place; one block for each segment. Its number of flags goes to `totals`.
struct ScanBlocks {
    static constexpr int kPhases = 4;
    static constexpr uint32_t kThreads = 512;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    using Shared = BlockSums<kThreads>;
    struct Local {};

    Segments segments;
    uint32_t* block_counts;
    int32_t* totals;

    Grid grid() const { return {segments.count, 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const uint64_t blocks = segments.blocks_each(), each = blocks_for(blocks, kThreads);
        const uint64_t first = at.thread.x * each, last = first + each < blocks ? first + each : blocks;
        uint32_t* counts = block_counts + at.block.x * blocks;
        if constexpr (Phase == 0) {
            uint32_t sum = 0;
            for (uint64_t b = first; b < last; ++b) sum += counts[b];
            shared.count[at.thread.x] = sum;
        } else if constexpr (Phase == 1) {
            shared.add_groups(at.thread.x);
        } else if constexpr (Phase == 2) {
            if (at.thread.x == 0) totals[at.block.x] = static_cast<int32_t>(shared.add_all());
        } else {
            uint32_t before = shared.before(at.thread.x);
            for (uint64_t b = first; b < last; ++b) {
                const uint32_t own = counts[b];
                counts[b] = before;
                before += own;
            }
        }
    }
};

// Calls sink(item, rank) for every flagged item; ranks begin at 0 in each segment.
template <typename Flag, typename Sink>
struct GiveRanks {
    static constexpr int kPhases = 4;
    static constexpr Size3 kBlock{kRankThreads, 1, 1};
    using Shared = BlockSums<kRankThreads>;
    struct Local {
        uint8_t flags;
    };
    static_assert(kRankEach <= 8, "a thread's flags are the bits of a byte");

    Flag flag;
    Sink sink;
    Segments segments;
    const uint32_t* block_first;

    Grid grid() const { return {segments.blocks(), 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local& local) const {
        if constexpr (Phase == 0) {
            const RankItems items = rank_items(segments, at);
            local.flags = 0;
            uint32_t count = 0;
            for (uint32_t k = 0; items.first + k < items.last; ++k)
                if (flag(items.first + k)) {
                    local.flags = static_cast<uint8_t>(local.flags | (1u << k));
                    ++count;
                }
            shared.count[at.thread.x] = count;
        } else if constexpr (Phase == 1) {
            shared.add_groups(at.thread.x);
        } else if constexpr (Phase == 2) {
            if (at.thread.x == 0) shared.add_all();
        } else {
            const uint64_t first = rank_items(segments, at).first;
            uint32_t rank = block_first[at.block.x] + shared.before(at.thread.x);
            for (uint32_t k = 0; k < kRankEach; ++k)
                if (local.flags >> k & 1) sink(first + k, rank++);
        }
    }
};

template <typename Flag, typename Sink, typename Run>
void rank_flagged(const char* name, const Flag& flag, const Sink& sink, const Segments& segments, uint32_t* scratch,
                  int32_t* totals, const Run& run) {
    run(name, CountFlags<Flag>{flag, segments, scratch});
    run(name, ScanBlocks{segments, scratch, totals});
    run(name, GiveRanks<Flag, Sink>{flag, sink, segments, scratch});
}

}  // namespace dinocell::device
