// Included inside the namespace of an instruction set.
#include "simd.inl"

// to[0, count) = value; may overwrite what follows up to `end`.
inline __attribute__((always_inline)) void fill_run(int32_t* to, size_t count, int32_t value, const int32_t* end) {
    DINOCELL_CHECK(to + count <= end);
    // Longer runs are rare enough to be foreseen, and three stores cost less than a wrong guess.
    constexpr size_t kUsual = 48;
    if (static_cast<size_t>(end - to) < (count < kUsual ? kUsual : count + kLanes<int32_t>)) {
        std::fill(to, to + count, value);
        return;
    }
    const Vector<int32_t> v = broadcast(value);
    for (size_t i = 0; i < kUsual; i += kLanes<int32_t>) store(to + i, v);
    if (count > kUsual) fill_over(to + kUsual, count - kUsual, value);
}

template <typename Label>
void relabel_runs(const Label* labels, size_t size, LabelNumbers<Label>& numbers, int32_t* out) {
    for_each_run(labels, 0, size, [&](size_t begin, size_t end) __attribute__((always_inline)) {
        fill_run(out + begin, end - begin, static_cast<int32_t>(numbers[labels[begin]]), out + size);
    });
}

// The runs of [begin, end) by the numbers of their labels, and the pixels of each number.
template <typename Label>
void count_runs(const Label* labels, size_t begin, size_t end, LabelNumbers<Label>& numbers, NumberedRuns& runs,
                std::vector<size_t>& pixels) {
    for_each_run(labels, begin, end, [&](size_t from, size_t to) __attribute__((always_inline)) {
        const uint32_t number = numbers[labels[from]];
        size_t length = to - from;
        if (number >= pixels.size()) [[unlikely]]
            pixels.resize(number + 1, 0);
        pixels[number] += length;
        for (; length > kLongest; length -= kLongest) [[unlikely]]
            runs.add(kLongest, number);
        runs.add(length, number);
    });
}

// Writes the runs to [out, end).
inline void write_runs(const NumberedRuns& runs, const int32_t* renamed, int32_t* out, const int32_t* end) {
    for (const NumberedRun& run : runs) {
        fill_run(out, run.length, renamed[run.number], end);
        out += run.length;
    }
}
