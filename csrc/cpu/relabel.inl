// Included inside the namespace of an instruction set.
#include "simd.inl"

// to[0, count) = value; may overwrite what follows up to `end`.
inline __attribute__((always_inline)) void fill_run(int32_t* to, size_t count, int32_t value, const int32_t* end) {
    if (to + count + kLanes<int32_t> <= end)
        fill_over(to, count, value);
    else
        std::fill(to, to + count, value);
}

template <typename Label>
void relabel_runs(const Label* labels, size_t size, LabelNumbers<Label>& numbers, int32_t* out) {
    for_each_run(labels, size, [&](size_t begin, size_t end) __attribute__((always_inline)) {
        const Label label = labels[begin];
        const int32_t value = label == 0 ? 0 : static_cast<int32_t>(numbers[label]);
        fill_run(out + begin, end - begin, value, out + size);
    });
}

// The runs of an image by the numbers of their labels, 0 for background, and the pixels of each number.
template <typename Label>
void count_runs(const Label* labels, size_t size, LabelNumbers<Label>& numbers, std::vector<NumberedRun>& runs,
                std::vector<size_t>& pixels) {
    for_each_run(labels, size, [&](size_t begin, size_t end) __attribute__((always_inline)) {
        const Label label = labels[begin];
        const uint32_t number = label == 0 ? 0 : numbers[label];
        size_t length = end - begin;
        if (number >= pixels.size()) pixels.resize(number + 1, 0);
        pixels[number] += length;
        for (; length > kLongest; length -= kLongest) runs.push_back({kLongest, number});
        runs.push_back({static_cast<uint32_t>(length), number});
    });
}

inline void write_runs(const std::vector<NumberedRun>& runs, const int32_t* renamed, size_t size, int32_t* out) {
    int32_t* to = out;
    for (const NumberedRun& run : runs) {
        fill_run(to, run.length, renamed[run.number], out + size);
        to += run.length;
    }
}
