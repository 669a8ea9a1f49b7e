// Relabelling for one thread of a grid; contracts in dinocell/relabel.hpp. Labels are 0 to num_labels; others become 0.
// Each image has tables of its own.
#pragma once

#include "for_each.hpp"
#include "ranks.hpp"

namespace dinocell::device {

// The labels of images of `pixels_each` pixels, and the place of a pixel's label in a table of num_labels + 1 for each.
template <typename Label>
struct Listed {
    const Label* labels;
    uint32_t images, pixels_each;
    uint64_t num_labels;

    DINOCELL_HD bool operator()(uint64_t p) const {
        return labels[p] > 0 && static_cast<uint64_t>(labels[p]) <= num_labels;
    }
    DINOCELL_HD uint32_t image_of(uint64_t p) const { return images == 1 ? 0 : static_cast<uint32_t>(p) / pixels_each; }
    DINOCELL_HD uint64_t entry(uint64_t p) const {
        return image_of(p) * (num_labels + 1) + static_cast<uint64_t>(labels[p]);
    }
    uint64_t pixels() const { return static_cast<uint64_t>(images) * pixels_each; }
    uint64_t entries() const { return images * (num_labels + 1); }
};

// first[entry] becomes the label's first pixel. Only the first pixel of a run of eight asks, as the others come later.
template <typename Label>
struct FindFirst {
    Listed<Label> listed;
    uint32_t* first;
    DINOCELL_HD void operator()(uint64_t p) const {
        if (!listed(p)) return;
        const uint64_t inside = p - static_cast<uint64_t>(listed.image_of(p)) * listed.pixels_each;
        if (inside % 8 == 0 || listed.labels[p - 1] != listed.labels[p])
            atomic_min(first + listed.entry(p), static_cast<uint32_t>(p));
    }
};

template <typename Label>
struct IsFirst {
    Listed<Label> listed;
    const uint32_t* first;
    DINOCELL_HD bool operator()(uint64_t p) const {
        return listed(p) && first[listed.entry(p)] == static_cast<uint32_t>(p);
    }
};

template <typename Label>
struct NumberOfPixel {
    Listed<Label> listed;
    int32_t* numbers;
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const {
        numbers[listed.entry(p)] = static_cast<int32_t>(rank + 1);
    }
};

// One atomic for each stretch of a label within eight pixels.
template <typename Label>
struct CountPixels {
    static constexpr uint32_t kEach = 8;
    Listed<Label> listed;
    uint32_t groups_each;  // of an image
    uint32_t* counts;
    DINOCELL_HD void operator()(uint64_t group) const {
        const uint64_t image = listed.images == 1 ? 0 : static_cast<uint32_t>(group) / groups_each;
        uint64_t p = image * listed.pixels_each + (group - image * groups_each) * kEach;
        const uint64_t image_end = (image + 1) * listed.pixels_each;
        const uint64_t end = p + kEach < image_end ? p + kEach : image_end;
        while (p < end) {
            const uint64_t begin = p;
            for (++p; p < end && listed.labels[p] == listed.labels[begin];) ++p;
            if (listed(begin)) atomic_add(counts + listed.entry(begin), static_cast<uint32_t>(p - begin));
        }
    }
};

// The background has no count.
struct IsLarge {
    const uint32_t* counts;
    uint64_t min_size;
    DINOCELL_HD bool operator()(uint64_t entry) const { return counts[entry] > 0 && counts[entry] >= min_size; }
};

struct NumberOfLabel {
    int32_t* numbers;
    DINOCELL_HD void operator()(uint64_t entry, uint32_t rank) const {
        numbers[entry] = static_cast<int32_t>(rank + 1);
    }
};

template <typename Label>
struct TakeNumberOf {
    Listed<Label> listed;
    const int32_t* numbers;
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p) const { out[p] = listed(p) ? numbers[listed.entry(p)] : 0; }
};

inline size_t relabel_scratch(size_t images, size_t pixels_each, size_t num_labels) {
    const size_t ranked = pixels_each > num_labels + 1 ? pixels_each : num_labels + 1;
    return 2 * images * (num_labels + 1) + ranks_scratch({images, ranked});
}

template <typename Label, typename Run>
void relabel(const Listed<Label>& listed, int32_t* out, uint32_t* scratch, int32_t* counts, const Run& run) {
    uint32_t* first = scratch;
    auto* numbers = reinterpret_cast<int32_t*>(scratch + listed.entries());
    run.fill(first, 0xff, listed.entries() * sizeof(uint32_t));  // nowhere
    for_each("relabel: first pixels", FindFirst<Label>{listed, first}, listed.pixels(), run);
    rank_flagged("relabel: number", IsFirst<Label>{listed, first}, NumberOfPixel<Label>{listed, numbers},
                 {listed.images, listed.pixels_each}, scratch + 2 * listed.entries(), counts, run);
    for_each("relabel: write", TakeNumberOf<Label>{listed, numbers, out}, listed.pixels(), run);
}

template <typename Label, typename Run>
void remove_small(const Listed<Label>& listed, size_t min_size, int32_t* out, uint32_t* scratch, int32_t* counts,
                  const Run& run) {
    uint32_t* pixels = scratch;
    auto* numbers = reinterpret_cast<int32_t*>(scratch + listed.entries());
    run.fill(scratch, 0, 2 * listed.entries() * sizeof(uint32_t));
    const auto groups = static_cast<uint32_t>(blocks_for(listed.pixels_each, CountPixels<Label>::kEach));
    for_each("remove_small: count", CountPixels<Label>{listed, groups, pixels},
             static_cast<uint64_t>(listed.images) * groups, run);
    rank_flagged("remove_small: number", IsLarge{pixels, min_size}, NumberOfLabel{numbers},
                 {listed.images, listed.num_labels + 1}, scratch + 2 * listed.entries(), counts, run);
    for_each("remove_small: write", TakeNumberOf<Label>{listed, numbers, out}, listed.pixels(), run);
}

}  // namespace dinocell::device
