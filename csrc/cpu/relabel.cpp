#include "dinocell/relabel.hpp"

#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "label_numbers.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

struct NumberedRun {
    uint32_t length, number;
};
constexpr uint32_t kLongest = 0xffffffffu;  // longer runs are stored in pieces

// A list to append to; its room is not cleared, as a vector's would be.
class NumberedRuns {
  public:
    explicit NumberedRuns(size_t expected)
        : runs_(std::make_unique_for_overwrite<NumberedRun[]>(expected + 1)), room_(expected + 1) {}

    __attribute__((always_inline)) void add(size_t length, uint32_t number) {
        if (size_ == room_) [[unlikely]]
            grow();
        runs_[size_++] = {static_cast<uint32_t>(length), number};
    }
    const NumberedRun* begin() const { return runs_.get(); }
    const NumberedRun* end() const { return runs_.get() + size_; }

  private:
    __attribute__((noinline)) void grow() {
        auto larger = std::make_unique_for_overwrite<NumberedRun[]>(2 * room_);
        std::copy(begin(), end(), larger.get());
        runs_ = std::move(larger);
        room_ *= 2;
    }

    std::unique_ptr<NumberedRun[]> runs_;
    size_t size_ = 0, room_;
};

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

// A stretch of the image with numbers of its own, so that threads need not agree on them.
template <typename Label>
struct Stretch {
    explicit Stretch(size_t size) : numbers(size), runs(size / 16), pixels(1, 0) {}
    LabelNumbers<Label> numbers;
    NumberedRuns runs;
    std::vector<size_t> pixels;
};

// Renames labels and returns how many there are then. rename(numbers, pixels): the new label by number, numbers being
// in raster order of first appearance and pixels given by number.
template <typename Label, typename Rename>
size_t rename_labels(const Label* labels, size_t size, size_t num_threads, int32_t* out, const Rename& rename) {
    const Bands bands(size, num_threads);
    std::vector<std::unique_ptr<Stretch<Label>>> stretches(bands.count());
    parallel_for(bands.count(), num_threads, [&](size_t i) {
        stretches[i] = std::make_unique<Stretch<Label>>(bands.end(i) - bands.begin(i));
        count_runs(labels, bands.begin(i), bands.end(i), stretches[i]->numbers, stretches[i]->runs,
                   stretches[i]->pixels);
    });
    LabelNumbers<Label> numbers(size);
    std::vector<size_t> pixels(1, 0);
    std::vector<std::vector<uint32_t>> number_in_all(bands.count());
    for (size_t i = 0; i < bands.count(); ++i) {
        const Stretch<Label>& here = *stretches[i];
        number_in_all[i].assign(here.numbers.size() + 1, 0);
        for (uint32_t n = 1; n <= here.numbers.size(); ++n) {
            const uint32_t number = number_in_all[i][n] = numbers[here.numbers.label(n)];
            pixels.resize(numbers.size() + 1, 0);
            pixels[number] += here.pixels[n];
        }
    }
    const std::vector<int32_t> renamed = rename(numbers, pixels);
    parallel_for(bands.count(), num_threads, [&](size_t i) {
        std::vector<int32_t> names(number_in_all[i].size());
        for (size_t n = 0; n < names.size(); ++n) names[n] = renamed[number_in_all[i][n]];
        write_runs(stretches[i]->runs, names.data(), out + bands.begin(i), out + bands.end(i));
    });
    return static_cast<size_t>(*std::max_element(renamed.begin(), renamed.end()));
}

}  // namespace

template <typename Label>
size_t relabel(const Label* labels, size_t size, int32_t* out, size_t num_threads) {
    num_threads = resolve_threads(num_threads, size);
    // Alone, a thread needs one pass, as its numbers are final at once; several need two.
    if (num_threads <= 2) {
        LabelNumbers<Label> numbers(size);
        relabel_runs(labels, size, numbers, out);
        return numbers.size();
    }
    return rename_labels(labels, size, num_threads, out, [](const auto& numbers, const auto&) {
        std::vector<int32_t> renamed(numbers.size() + 1);
        std::iota(renamed.begin(), renamed.end(), 0);
        return renamed;
    });
}

template <typename Label>
size_t remove_small(const Label* labels, size_t size, size_t min_size, int32_t* out, size_t num_threads) {
    num_threads = resolve_threads(num_threads, size);
    return rename_labels(labels, size, num_threads, out, [min_size](const auto& numbers, const auto& pixels) {
        std::vector<uint32_t> ascending(numbers.size());
        std::iota(ascending.begin(), ascending.end(), uint32_t{1});
        std::sort(ascending.begin(), ascending.end(),
                  [&](uint32_t a, uint32_t b) { return numbers.label(a) < numbers.label(b); });
        std::vector<int32_t> renamed(numbers.size() + 1, 0);
        int32_t kept = 0;
        for (const uint32_t number : ascending)
            if (pixels[number] >= min_size) renamed[number] = ++kept;
        return renamed;
    });
}

template size_t relabel(const uint16_t*, size_t, int32_t*, size_t);
template size_t relabel(const int32_t*, size_t, int32_t*, size_t);
template size_t relabel(const int64_t*, size_t, int32_t*, size_t);
template size_t remove_small(const uint16_t*, size_t, size_t, int32_t*, size_t);
template size_t remove_small(const int32_t*, size_t, size_t, int32_t*, size_t);
template size_t remove_small(const int64_t*, size_t, size_t, int32_t*, size_t);

}  // namespace dinocell
