// Levels to which a flood fills the pits of an image: regional maxima of a distance map that hold no marker.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "label_index.hpp"

namespace dinocell {

// Basins are numbered 1, 2, ...: first the markers', then those of the pits.
template <typename Value>
class PitLevels {
  public:
    PitLevels(size_t num_markers, size_t num_pits)
        : num_markers_(num_markers), parent_(num_pits), label_(num_pits, 0), level_(num_pits) {
        for (size_t i = 0; i < num_pits; ++i) parent_[i] = static_cast<uint32_t>(i);
    }

    // Basins a and b touch where the map has `value`; one of them is a pit's. The highest such value is their pass.
    void add_pass(uint32_t a, uint32_t b, Value value) {
        if (a > b) std::swap(a, b);
        const size_t number = index_[static_cast<uint64_t>(a) << 32 | b];
        if (number == passes_.size()) passes_.push_back({value, a, b});
        passes_[number].value = std::max(passes_[number].value, value);
    }

    // Finds for each pit the highest path to a marker, over the passes from the highest to the lowest (Kruskal 1956):
    // the flood enters a pit when it has reached the lowest point of that path.
    void solve() {
        std::stable_sort(passes_.begin(), passes_.end(), [](const Pass& a, const Pass& b) { return a.value > b.value; });
        for (const Pass& pass : passes_) {
            const bool marker = pass.a <= num_markers_;
            const uint32_t a = marker ? 0 : root(pit(pass.a)), b = root(pit(pass.b));
            const int32_t label_a = marker ? static_cast<int32_t>(pass.a) : label_[a];
            if (label_a != 0 && label_[b] == 0)
                reach(b, label_a, pass.value);
            else if (label_a == 0 && label_[b] != 0)
                reach(a, label_[b], pass.value);
            else if (label_a == 0 && a != b)
                parent_[a] = b;
        }
        for (size_t i = 0; i < parent_.size(); ++i) {
            const uint32_t top = root(static_cast<uint32_t>(i));
            label_[i] = label_[top];
            level_[i] = level_[top];
        }
    }

    bool is_pit(int32_t basin) const { return basin > static_cast<int64_t>(num_markers_); }
    int32_t label(int32_t basin) const { return label_[pit(static_cast<uint32_t>(basin))]; }
    Value level(int32_t basin) const { return level_[pit(static_cast<uint32_t>(basin))]; }

  private:
    struct Pass {
        Value value;
        uint32_t a, b;
    };
    size_t pit(uint32_t basin) const { return basin - num_markers_ - 1; }
    uint32_t root(size_t i) {
        while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
        return static_cast<uint32_t>(i);
    }
    // Pits that are reached keep their own level, so their tree is closed: nothing is joined to it any more.
    void reach(uint32_t tree, int32_t label, Value level) {
        label_[tree] = label;
        level_[tree] = level;
    }

    size_t num_markers_;
    std::vector<uint32_t> parent_;
    std::vector<int32_t> label_;
    std::vector<Value> level_;
    std::vector<Pass> passes_;
    LabelIndex index_;
};

}  // namespace dinocell
