// Relabelling for one thread of a grid; contracts in dinocell/relabel.hpp. Labels are 0 to num_labels; others become 0.
#pragma once

#include "ranks.hpp"

namespace dinocell::device {

template <typename Label>
DINOCELL_HD bool is_listed(Label label, uint64_t num_labels) {
    return label > 0 && static_cast<uint64_t>(label) <= num_labels;
}

// first[label] becomes the label's first pixel. Only the first pixel of a run of eight asks, as the others come later.
template <typename Label>
struct FindFirst {
    const Label* labels;
    uint64_t num_labels;
    uint32_t* first;
    DINOCELL_HD void operator()(uint64_t p) const {
        const Label label = labels[p];
        if (is_listed(label, num_labels) && (p % 8 == 0 || labels[p - 1] != label))
            atomic_min(first + label, static_cast<uint32_t>(p));
    }
};

template <typename Label>
struct IsFirst {
    const Label* labels;
    uint64_t num_labels;
    const uint32_t* first;
    DINOCELL_HD bool operator()(uint64_t p) const {
        return is_listed(labels[p], num_labels) && first[labels[p]] == static_cast<uint32_t>(p);
    }
};

template <typename Label>
struct NumberOfPixel {
    const Label* labels;
    int32_t* numbers;
    DINOCELL_HD void operator()(uint64_t p, uint32_t rank) const {
        numbers[labels[p]] = static_cast<int32_t>(rank + 1);
    }
};

// One atomic for each stretch of a label within eight pixels.
template <typename Label>
struct CountPixels {
    static constexpr uint32_t kEach = 8;
    const Label* labels;
    uint64_t num_pixels, num_labels;
    uint32_t* counts;
    DINOCELL_HD void operator()(uint64_t group) const {
        uint64_t p = group * kEach;
        const uint64_t end = p + kEach < num_pixels ? p + kEach : num_pixels;
        while (p < end) {
            const Label label = labels[p];
            uint32_t length = 0;
            for (; p < end && labels[p] == label; ++p) ++length;
            if (is_listed(label, num_labels)) atomic_add(counts + label, length);
        }
    }
};

struct IsLarge {
    const uint32_t* counts;
    uint64_t min_size;
    DINOCELL_HD bool operator()(uint64_t label) const {
        return label > 0 && counts[label] > 0 && counts[label] >= min_size;
    }
};

struct NumberOfLabel {
    int32_t* numbers;
    DINOCELL_HD void operator()(uint64_t label, uint32_t rank) const {
        numbers[label] = static_cast<int32_t>(rank + 1);
    }
};

template <typename Label>
struct TakeNumberOf {
    const Label* labels;
    uint64_t num_labels;
    const int32_t* numbers;
    int32_t* out;
    DINOCELL_HD void operator()(uint64_t p) const {
        out[p] = is_listed(labels[p], num_labels) ? numbers[labels[p]] : 0;
    }
};

inline size_t relabel_scratch(size_t num_pixels, size_t num_labels) {
    return 2 * (num_labels + 1) + ranks_scratch(num_pixels > num_labels + 1 ? num_pixels : num_labels + 1);
}

template <typename Label, typename Run>
void relabel(const Label* labels, size_t num_pixels, size_t num_labels, int32_t* out, uint32_t* scratch,
             int32_t* count, const Run& run) {
    uint32_t* first = scratch;
    auto* numbers = reinterpret_cast<int32_t*>(scratch + num_labels + 1);
    run.fill(first, 0xff, (num_labels + 1) * sizeof(uint32_t));  // nowhere
    for_each("relabel: first pixels", FindFirst<Label>{labels, num_labels, first}, num_pixels, run);
    rank_flagged("relabel: number", IsFirst<Label>{labels, num_labels, first}, NumberOfPixel<Label>{labels, numbers},
                 num_pixels, scratch + 2 * (num_labels + 1), count, run);
    for_each("relabel: write", TakeNumberOf<Label>{labels, num_labels, numbers, out}, num_pixels, run);
}

template <typename Label, typename Run>
void remove_small(const Label* labels, size_t num_pixels, size_t num_labels, size_t min_size, int32_t* out,
                  uint32_t* scratch, int32_t* count, const Run& run) {
    uint32_t* counts = scratch;
    auto* numbers = reinterpret_cast<int32_t*>(scratch + num_labels + 1);
    run.fill(scratch, 0, 2 * (num_labels + 1) * sizeof(uint32_t));
    constexpr uint32_t kEach = CountPixels<Label>::kEach;
    for_each("remove_small: count", CountPixels<Label>{labels, num_pixels, num_labels, counts},
             (num_pixels + kEach - 1) / kEach, run);
    rank_flagged("remove_small: number", IsLarge{counts, min_size}, NumberOfLabel{numbers}, num_labels + 1,
                 scratch + 2 * (num_labels + 1), count, run);
    for_each("remove_small: write", TakeNumberOf<Label>{labels, num_labels, numbers, out}, num_pixels, run);
}

}  // namespace dinocell::device
