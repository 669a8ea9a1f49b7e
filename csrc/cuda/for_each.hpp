// One thread for each of many items, and the images of a batch.
#pragma once

#include "launch.hpp"

namespace dinocell::device {

// A batch of images, one after the other: a pixel's number counts through all of them.
struct Batch {
    uint32_t images, height, width;

    uint64_t pixels_each() const { return static_cast<uint64_t>(height) * width; }
    uint64_t pixels() const { return images * pixels_each(); }
    DINOCELL_HD uint32_t image_of(uint32_t p) const { return images == 1 ? 0 : p / (height * width); }
    // The row within p's image.
    DINOCELL_HD uint32_t row_of(uint32_t p) const {
        const uint32_t y = p / width;
        return images == 1 ? y : y % height;
    }
};

// map(item) for all items.
template <typename Map>
struct ForEach {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 256;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {};
    struct Local {};

    Map map;
    uint64_t num_items;

    Grid grid() const { return {blocks_for(num_items, kThreads), 1, 1}; }

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
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {};
    struct Local {};

    Map map;
    const int32_t* count;
    const uint32_t* go;  // null: always
    uint64_t most;

    DINOCELL_HD Grid grid() const {
        const uint64_t blocks = blocks_for(most, kThreads);
        return {blocks < kMostBlocks ? blocks : kMostBlocks, 1, 1};
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        if (go != nullptr && *go == 0) return;
        const auto items = static_cast<uint64_t>(*count);
        for (uint64_t i = static_cast<uint64_t>(at.block.x) * kThreads + at.thread.x; i < items;
             i += grid().x * kThreads)
            map(i);
    }
};

template <typename Map, typename Run>
void for_each(const char* name, const Map& map, uint64_t num_items, const Run& run) {
    run(name, ForEach<Map>{map, num_items});
}

}  // namespace dinocell::device
