#include "dinocell/relabel.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "label_index.hpp"
#include "label_range.hpp"
#include "runs.hpp"

namespace dinocell {
namespace {

size_t checked_count(size_t count) {
    if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
        throw std::overflow_error("more than 2147483647 labels do not fit int32");
    return count;
}

// A table by label beats a hash as long as it is not much larger than the image.
template <typename Label>
bool fits_table(const Label* labels, size_t size) {
    if (size == 0) return true;
    const auto [least, most] = label_range(labels, size);
    return least >= 0 && static_cast<uint64_t>(most) < 65536 + size / 4;
}

// Numbers by label, 0-based in order of first sight, with a table where the labels are small.
template <typename Label>
class Numbering {
  public:
    Numbering(const Label* labels, size_t size) : dense_(fits_table(labels, size)) {}

    size_t operator[](Label label) {
        if (!dense_) return index_[static_cast<uint64_t>(label)];
        const size_t key = static_cast<size_t>(label);
        if (key >= table_.size()) table_.resize(std::max(key + 1, 2 * table_.size()), 0);
        if (table_[key] == 0) {
            order_.push_back(label);
            table_[key] = order_.size();
        }
        return table_[key] - 1;
    }
    size_t size() const { return dense_ ? order_.size() : index_.keys().size(); }
    Label label(size_t number) const { return dense_ ? order_[number] : static_cast<Label>(index_.keys()[number]); }

  private:
    bool dense_;
    std::vector<size_t> table_;  // number + 1; 0 marks a label not seen yet
    std::vector<Label> order_;
    LabelIndex index_;
};

}  // namespace

template <typename Label>
size_t relabel(const Label* labels, size_t size, int32_t* out) {
    Numbering<Label> numbers(labels, size);
    for_each_run(labels, size, [&](size_t begin, size_t end) {
        const Label label = labels[begin];
        const int32_t value = label == 0 ? 0 : static_cast<int32_t>(numbers[label] + 1);
        std::fill(out + begin, out + end, value);
    });
    return checked_count(numbers.size());
}

template <typename Label>
size_t remove_small(const Label* labels, size_t size, size_t min_size, int32_t* out) {
    Numbering<Label> numbers(labels, size);
    std::vector<size_t> pixels;
    for_each_run(labels, size, [&](size_t begin, size_t end) {
        const Label label = labels[begin];
        if (label == 0) return;
        const size_t number = numbers[label];
        if (number == pixels.size()) pixels.push_back(0);
        pixels[number] += end - begin;
    });
    checked_count(numbers.size());

    std::vector<size_t> ascending(numbers.size());
    std::iota(ascending.begin(), ascending.end(), size_t{0});
    std::sort(ascending.begin(), ascending.end(),
              [&](size_t a, size_t b) { return numbers.label(a) < numbers.label(b); });
    std::vector<int32_t> renamed(numbers.size(), 0);
    int32_t kept = 0;
    for (const size_t number : ascending)
        if (pixels[number] >= min_size) renamed[number] = ++kept;

    for_each_run(labels, size, [&](size_t begin, size_t end) {
        const Label label = labels[begin];
        std::fill(out + begin, out + end, label == 0 ? 0 : renamed[numbers[label]]);
    });
    return static_cast<size_t>(kept);
}

template size_t relabel(const uint16_t*, size_t, int32_t*);
template size_t relabel(const int32_t*, size_t, int32_t*);
template size_t relabel(const int64_t*, size_t, int32_t*);
template size_t remove_small(const uint16_t*, size_t, size_t, int32_t*);
template size_t remove_small(const int32_t*, size_t, size_t, int32_t*);
template size_t remove_small(const int64_t*, size_t, size_t, int32_t*);

}  // namespace dinocell
