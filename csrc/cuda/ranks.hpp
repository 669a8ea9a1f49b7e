// Numbers for the flagged ones among many items, in order: a prefix sum in three launches.
#pragma once

#include "launch.hpp"

namespace dinocell::device {

constexpr uint32_t kRankThreads = 256, kRankEach = 8, kRankItems = kRankThreads * kRankEach;

// Words of scratch that `rank_flagged` needs.
inline size_t ranks_scratch(size_t num_items) { return (num_items + kRankItems - 1) / kRankItems + 1; }

// How many flags each block of kRankItems holds.
template <typename Flag>
struct CountFlags {
    static constexpr int kPhases = 2;
    struct Shared {
        uint32_t count[kRankThreads];
    };
    struct Local {};

    Flag flag;
    uint64_t num_items;
    uint32_t* block_counts;

    Grid grid() const { return {{blocks_for(num_items, kRankItems), 1, 1}, {kRankThreads, 1, 1}}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        if constexpr (Phase == 0) {
            const uint64_t first = static_cast<uint64_t>(at.block.x) * kRankItems + at.thread.x * kRankEach;
            uint32_t count = 0;
            for (uint64_t i = first; i < first + kRankEach && i < num_items; ++i) count += flag(i) ? 1 : 0;
            shared.count[at.thread.x] = count;
        } else if (at.thread.x == 0) {
            uint32_t sum = 0;
            for (uint32_t t = 0; t < kRankThreads; ++t) sum += shared.count[t];
            block_counts[at.block.x] = sum;
        }
    }
};

// Block counts become first ranks, in place; one block. The number of flags goes to `total`.
struct ScanBlocks {
    static constexpr int kPhases = 3;
    static constexpr uint32_t kThreads = 512;
    struct Shared {
        uint32_t sum[kThreads];
    };
    struct Local {};

    uint32_t* block_counts;
    uint32_t num_blocks;
    int32_t* total;

    Grid grid() const { return {{1, 1, 1}, {kThreads, 1, 1}}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const uint32_t each = (num_blocks + kThreads - 1) / kThreads, first = at.thread.x * each;
        const uint32_t last = first + each < num_blocks ? first + each : num_blocks;
        if constexpr (Phase == 0) {
            uint32_t sum = 0;
            for (uint32_t b = first; b < last; ++b) sum += block_counts[b];
            shared.sum[at.thread.x] = sum;
        } else if constexpr (Phase == 1) {
            if (at.thread.x != 0) return;
            uint32_t before = 0;
            for (uint32_t t = 0; t < kThreads; ++t) {
                const uint32_t own = shared.sum[t];
                shared.sum[t] = before;
                before += own;
            }
            *total = static_cast<int32_t>(before);
        } else {
            uint32_t before = shared.sum[at.thread.x];
            for (uint32_t b = first; b < last; ++b) {
                const uint32_t own = block_counts[b];
                block_counts[b] = before;
                before += own;
            }
        }
    }
};

// Calls sink(item, rank) for every flagged item.
template <typename Flag, typename Sink>
struct GiveRanks {
    static constexpr int kPhases = 3;
    struct Shared {
        uint32_t first[kRankThreads];
    };
    struct Local {
        uint8_t flags;
    };
    static_assert(kRankEach <= 8, "a thread's flags are the bits of a byte");

    Flag flag;
    Sink sink;
    uint64_t num_items;
    const uint32_t* block_first;

    Grid grid() const { return {{blocks_for(num_items, kRankItems), 1, 1}, {kRankThreads, 1, 1}}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local& local) const {
        const uint64_t first = static_cast<uint64_t>(at.block.x) * kRankItems + at.thread.x * kRankEach;
        if constexpr (Phase == 0) {
            local.flags = 0;
            uint32_t count = 0;
            for (uint32_t k = 0; k < kRankEach && first + k < num_items; ++k)
                if (flag(first + k)) {
                    local.flags = static_cast<uint8_t>(local.flags | (1u << k));
                    ++count;
                }
            shared.first[at.thread.x] = count;
        } else if constexpr (Phase == 1) {
            if (at.thread.x != 0) return;
            uint32_t before = block_first[at.block.x];
            for (uint32_t t = 0; t < kRankThreads; ++t) {
                const uint32_t own = shared.first[t];
                shared.first[t] = before;
                before += own;
            }
        } else {
            uint32_t rank = shared.first[at.thread.x];
            for (uint32_t k = 0; k < kRankEach; ++k)
                if (local.flags >> k & 1) sink(first + k, rank++);
        }
    }
};

template <typename Flag, typename Sink, typename Run>
void rank_flagged(const char* name, const Flag& flag, const Sink& sink, uint64_t num_items, uint32_t* scratch,
                  int32_t* total, const Run& run) {
    run(name, CountFlags<Flag>{flag, num_items, scratch});
    run(name, ScanBlocks{scratch, blocks_for(num_items, kRankItems), total});
    run(name, GiveRanks<Flag, Sink>{flag, sink, num_items, scratch});
}

// One thread for each item: map(item).
template <typename Map>
struct ForEach {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 256;
    struct Shared {};
    struct Local {};

    Map map;
    uint64_t num_items;

    Grid grid() const { return {{blocks_for(num_items, kThreads), 1, 1}, {kThreads, 1, 1}}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const uint64_t item = static_cast<uint64_t>(at.block.x) * kThreads + at.thread.x;
        if (item < num_items) map(item);
    }
};

// As ForEach for a number of items that the device has counted: at most `most`, `go` false for none.
template <typename Map>
struct ForCounted {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 256, kMostBlocks = 2048;
    struct Shared {};
    struct Local {};

    Map map;
    const int32_t* count;
    const uint32_t* go;  // null: always
    uint64_t most;

    DINOCELL_HD Grid grid() const {
        const uint32_t blocks = blocks_for(most, kThreads);
        return {{blocks < kMostBlocks ? blocks : kMostBlocks, 1, 1}, {kThreads, 1, 1}};
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        if (go != nullptr && *go == 0) return;
        const auto items = static_cast<uint64_t>(*count), step = static_cast<uint64_t>(grid().blocks.x) * kThreads;
        for (uint64_t i = static_cast<uint64_t>(at.block.x) * kThreads + at.thread.x; i < items; i += step) map(i);
    }
};

template <typename Map, typename Run>
void for_each(const char* name, const Map& map, uint64_t num_items, const Run& run) {
    run(name, ForEach<Map>{map, num_items});
}

}  // namespace dinocell::device
