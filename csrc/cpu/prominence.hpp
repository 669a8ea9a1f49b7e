// Which maxima of an image stand out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "pit_levels.hpp"

namespace dinocell {

// Basins 1, 2, ... of maxima, in raster order, each with the pixel of its maximum (of a plateau: several basins).
// Where two regions of basins meet, over the passes from the highest to the lowest, the one with the lower maximum
// ends (of equal ones the later): the pass is that maximum's, see dinocell/prominent_maxima.hpp.
template <typename Value>
class Prominence {
  public:
    // lone: maxima above the peak without a pass, in raster order, whose basins are not numbered here.
    Prominence(const Value* map, const std::vector<uint32_t>& summits, const std::vector<uint32_t>& lone,
               const std::vector<Pass<Value>>& passes, Value peak, Value least)
        : parent_(summits.size() + 1), numbers_(summits.size() + 1, 0) {
        std::iota(parent_.begin(), parent_.end(), 0);
        const auto height_of = [&](uint32_t basin) { return map[summits[basin - 1]]; };
        std::vector<uint8_t> kept(summits.size() + 1, 0);
        for (const Pass<Value>& pass : passes) {
            uint32_t higher = root(pass.a), lower = root(pass.b);
            if (higher == lower) continue;
            const Value a = height_of(higher), b = height_of(lower);
            if (b > a || (a == b && lower < higher)) std::swap(higher, lower);
            // A pass as high as the maximum lies on its plateau.
            const Value above = height_of(lower) - pass.value;
            kept[lower] = height_of(lower) > peak && above >= least && above > 0;
            parent_[lower] = higher;
        }
        auto next_lone = lone.begin();
        for (uint32_t basin = 1; basin < parent_.size(); ++basin) {
            if (parent_[basin] == basin) kept[basin] = height_of(basin) > peak;
            if (!kept[basin]) continue;
            for (; next_lone != lone.end() && *next_lone < summits[basin - 1]; ++next_lone)
                markers_.push_back(*next_lone);
            markers_.push_back(summits[basin - 1]);
            numbers_[basin] = static_cast<int32_t>(markers_.size());
        }
        markers_.insert(markers_.end(), next_lone, lone.end());
        auto next = static_cast<int32_t>(markers_.size());
        for (size_t basin = 1; basin < numbers_.size(); ++basin)
            if (numbers_[basin] == 0) numbers_[basin] = ++next;
    }

    // The pixels of the maxima that stand out and of the lone ones, in raster order.
    const std::vector<uint32_t>& markers() const { return markers_; }
    // The place of one of them among them, from 0.
    uint32_t marker_of(uint32_t pixel) const {
        return static_cast<uint32_t>(std::lower_bound(markers_.begin(), markers_.end(), pixel) - markers_.begin());
    }
    // By basin, a new number: that of its marker, from 1, or after these if it has none; 0 for 0.
    const std::vector<int32_t>& numbers() const { return numbers_; }

  private:
    uint32_t root(uint32_t i) {
        while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
        return i;
    }

    std::vector<uint32_t> parent_, markers_;
    std::vector<int32_t> numbers_;
};

}  // namespace dinocell
