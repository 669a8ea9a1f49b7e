#include "dinocell/relabel.hpp"

#include <numeric>
#include <vector>

#include "label_numbers.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

struct NumberedRun {
    uint32_t length, number;
};
constexpr uint32_t kLongest = 0xffffffffu;  // longer runs are stored in pieces

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "relabel.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
void relabel_runs(Arguments&&... arguments) {
    DINOCELL_DISPATCH(relabel_runs(arguments...))
}
template <typename... Arguments>
void count_runs(Arguments&&... arguments) {
    DINOCELL_DISPATCH(count_runs(arguments...))
}
template <typename... Arguments>
void write_runs(Arguments&&... arguments) {
    DINOCELL_DISPATCH(write_runs(arguments...))
}

}  // namespace

template <typename Label>
size_t relabel(const Label* labels, size_t size, int32_t* out) {
    LabelNumbers<Label> numbers(size);
    relabel_runs(labels, size, numbers, out);
    return numbers.size();
}

template <typename Label>
size_t remove_small(const Label* labels, size_t size, size_t min_size, int32_t* out) {
    LabelNumbers<Label> numbers(size);
    std::vector<NumberedRun> runs;
    std::vector<size_t> pixels(1, 0);
    runs.reserve(size / 16);
    count_runs(labels, size, numbers, runs, pixels);

    std::vector<uint32_t> ascending(numbers.size());
    std::iota(ascending.begin(), ascending.end(), uint32_t{1});
    std::sort(ascending.begin(), ascending.end(),
              [&](uint32_t a, uint32_t b) { return numbers.label(a) < numbers.label(b); });
    std::vector<int32_t> renamed(numbers.size() + 1, 0);
    int32_t kept = 0;
    for (const uint32_t number : ascending)
        if (pixels[number] >= min_size) renamed[number] = ++kept;
    write_runs(runs, renamed.data(), size, out);
    return static_cast<size_t>(kept);
}

template size_t relabel(const uint16_t*, size_t, int32_t*);
template size_t relabel(const int32_t*, size_t, int32_t*);
template size_t relabel(const int64_t*, size_t, int32_t*);
template size_t remove_small(const uint16_t*, size_t, size_t, int32_t*);
template size_t remove_small(const int32_t*, size_t, size_t, int32_t*);
template size_t remove_small(const int64_t*, size_t, size_t, int32_t*);

}  // namespace dinocell
