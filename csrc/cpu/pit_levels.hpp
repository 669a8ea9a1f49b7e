// Levels to which a flood fills the pits of an image: regional maxima of a distance map that hold no marker.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "label_index.hpp"

namespace dinocell {

// Basins are numbered 1, 2, ...: first the markers', then those of the pits; 0 is the background. Where two of them
// touch, one of them a pit's, the highest value of the map at which they do is their pass.
template <typename Value>
struct Pass {
    Value value;
    uint32_t a, b;
};

template <typename Value>
class Passes {
  public:
    // Basins a and b touch where the map has `value`.
    void add(uint32_t a, uint32_t b, Value value) {
        if (a > b) std::swap(a, b);
        const uint64_t pair = static_cast<uint64_t>(a) << 32 | b;
        if (pair != pair_) {  // neighbouring pixels mostly lie between the same two
            pair_ = pair;
            number_ = index_[pair];
            if (number_ == passes_.size()) passes_.push_back({value, a, b});
        }
        passes_[number_].value = std::max(passes_[number_].value, value);
    }
    const std::vector<Pass<Value>>& all() const { return passes_; }

  private:
    LabelIndex index_;
    std::vector<Pass<Value>> passes_;
    uint64_t pair_ = 0;
    size_t number_ = 0;
};

// The label of each basin, and the level to which its pixels are flooded at least.
template <typename Value>
class PitLevels {
  public:
    // Finds for each pit the highest path to a marker, over the passes, which fall in value (Kruskal 1956):
    // the flood enters a pit when it has reached the lowest point of that path.
    PitLevels(size_t num_markers, size_t num_pits, const std::vector<Pass<Value>>& passes)
        : labels_(num_markers + num_pits + 1, 0),
          levels_(num_markers + num_pits + 1, std::numeric_limits<Value>::infinity()),
          parent_(num_markers + num_pits + 1) {
        std::iota(labels_.begin(), labels_.begin() + static_cast<ptrdiff_t>(num_markers) + 1, 0);
        std::iota(parent_.begin(), parent_.end(), 0);
        for (const Pass<Value>& pass : passes) {
            const uint32_t a = root(pass.a), b = root(pass.b);
            if (labels_[a] != 0 && labels_[b] == 0)
                reach(b, labels_[a], pass.value);
            else if (labels_[a] == 0 && labels_[b] != 0)
                reach(a, labels_[b], pass.value);
            else if (labels_[a] == 0 && a != b)
                parent_[a] = b;
        }
        for (size_t basin = num_markers + 1; basin < parent_.size(); ++basin) {
            const uint32_t top = root(static_cast<uint32_t>(basin));
            labels_[basin] = labels_[top];
            levels_[basin] = levels_[top];
        }
    }

    // By basin; the level of a marker's is infinite, as only pits fill.
    const std::vector<int32_t>& labels() const { return labels_; }
    const std::vector<Value>& levels() const { return levels_; }

  private:
    uint32_t root(uint32_t i) {
        while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
        return i;
    }
    // Pits that are reached keep their own level, so their tree is closed: nothing is joined to it any more.
    void reach(uint32_t tree, int32_t label, Value level) {
        labels_[tree] = label;
        levels_[tree] = level;
    }

    std::vector<int32_t> labels_;
    std::vector<Value> levels_;
    std::vector<uint32_t> parent_;
};

}  // namespace dinocell
