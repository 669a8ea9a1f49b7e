// Numbers labels 1, 2, ... in order of first sight, and 0 with 0: a table by label where labels are small, else a hash
// table.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "label_index.hpp"

namespace dinocell {

template <typename Label>
class LabelNumbers {
  public:
    // The table by label grows to a quarter of the `size` pixels at most.
    explicit LabelNumbers(size_t size) : limit_(65536 + size / 4), table_(1024, kUnseen) { table_[0] = 0; }

    uint32_t operator[](Label label) {
        const auto key = static_cast<uint64_t>(label);
        if (key < table_.size() && table_[key] != kUnseen) [[likely]]
            return table_[key];
        return find(label);
    }
    // How many there are besides 0; and the label of a number from 1 on.
    size_t size() const { return labels_.size(); }
    Label label(uint32_t number) const { return labels_[number - 1]; }

  private:
    static constexpr uint32_t kUnseen = 0xffffffffu;

    __attribute__((noinline)) uint32_t find(Label label) {
        const auto key = static_cast<uint64_t>(label);
        if (key < limit_) {
            if (key >= table_.size())
                table_.resize(std::min(limit_, std::max(key + 1, 2 * uint64_t{table_.size()})), kUnseen);
            if (table_[key] == kUnseen) table_[key] = next(label);
            return table_[key];
        }
        const size_t slot = index_[key];
        if (slot == numbers_.size()) numbers_.push_back(next(label));
        return numbers_[slot];
    }
    uint32_t next(Label label) {
        if (labels_.size() >= static_cast<size_t>(std::numeric_limits<int32_t>::max()))
            throw std::overflow_error("more than 2147483647 labels do not fit int32");
        labels_.push_back(label);
        return static_cast<uint32_t>(labels_.size());
    }

    uint64_t limit_;
    std::vector<uint32_t> table_;    // by label
    LabelIndex index_;               // of larger and of negative labels
    std::vector<uint32_t> numbers_;  // of those, by their index
    std::vector<Label> labels_;
};

}  // namespace dinocell
