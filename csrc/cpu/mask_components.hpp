// Connected components of a mask as runs of foreground, without a label image (He, Chao & Suzuki 2008).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

namespace dinocell {

// Runs of foreground row by row, joined to the rows above as they come. Bands of rows can be collected by different
// threads and appended to each other.
class MaskComponents {
  public:
    struct Run {
        uint32_t begin, end;  // columns [begin, end)
    };

    // connectivity 1: runs of neighbouring rows join where they overlap; 2: also where they touch at a corner.
    explicit MaskComponents(int connectivity) : corner_(connectivity == 2 ? 1 : 0), row_begin_(1, 0) {}

    // The next row down, as the columns where foreground begins and ends in turn (an even number of them).
    void add_row(const uint32_t* edges, size_t count) {
        for (size_t i = 0; i < count; i += 2) {
            parent_.push_back(static_cast<uint32_t>(runs_.size()));
            runs_.push_back({edges[i], edges[i + 1]});
        }
        row_begin_.push_back(runs_.size());
        join_rows(num_rows() - 1);
    }

    // The rows of `below`, which follow those of this.
    void append(const MaskComponents& below) {
        const size_t seam = num_rows(), shift = runs_.size();
        if (shift + below.runs_.size() >= std::numeric_limits<uint32_t>::max())
            throw std::overflow_error("mask has 2^32 runs");
        runs_.insert(runs_.end(), below.runs_.begin(), below.runs_.end());
        for (const uint32_t parent : below.parent_) parent_.push_back(static_cast<uint32_t>(parent + shift));
        for (size_t y = 1; y < below.row_begin_.size(); ++y) row_begin_.push_back(below.row_begin_[y] + shift);
        if (below.num_rows() > 0) join_rows(seam);
    }

    // Numbers the components 0, 1, ... in raster order of their first pixels and returns how many there are; add and
    // append nothing after it.
    size_t number() {
        size_t count = 0;
        for (size_t i = 0; i < parent_.size(); ++i)
            parent_[i] = parent_[i] == i ? static_cast<uint32_t>(count++) : parent_[parent_[i]];
        if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
            throw std::overflow_error("more than 2147483647 components do not fit int32");
        return count;
    }

    size_t num_rows() const { return row_begin_.size() - 1; }
    const Run& run(size_t i) const { return runs_[i]; }
    uint32_t component(size_t i) const { return parent_[i]; }  // valid after number()
    // Runs of row y are [row_begin(y), row_begin(y + 1)).
    size_t row_begin(size_t y) const { return row_begin_[y]; }

  private:
    void join_rows(size_t y) {
        if (y == 0) return;
        size_t a = row_begin_[y - 1], b = row_begin_[y];
        const size_t above_end = b, end = row_begin_[y + 1];
        while (a < above_end && b < end) {
            if (runs_[a].begin < runs_[b].end + corner_ && runs_[b].begin < runs_[a].end + corner_) join(a, b);
            if (runs_[a].end < runs_[b].end)
                ++a;
            else
                ++b;
        }
    }
    // The earlier run becomes the root, so that components are numbered by their first pixel.
    void join(size_t a, size_t b) {
        const uint32_t x = root(static_cast<uint32_t>(a)), y = root(static_cast<uint32_t>(b));
        if (x < y)
            parent_[y] = x;
        else
            parent_[x] = y;
    }
    uint32_t root(uint32_t run) {
        while (parent_[run] != run) {
            parent_[run] = parent_[parent_[run]];
            run = parent_[run];
        }
        return run;
    }

    uint32_t corner_;
    std::vector<Run> runs_;
    std::vector<uint32_t> parent_;  // after number(): the component
    std::vector<size_t> row_begin_;
};

// The components of a mask from those of its bands, top to bottom.
inline MaskComponents joined(std::vector<MaskComponents>& bands, int connectivity) {
    MaskComponents whole = bands.empty() ? MaskComponents(connectivity) : std::move(bands[0]);
    for (size_t i = 1; i < bands.size(); ++i) whole.append(bands[i]);
    return whole;
}

}  // namespace dinocell
