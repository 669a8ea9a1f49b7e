// Connected components as runs of foreground, without a label image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "runs.hpp"

namespace dinocell {

struct MaskRun {
    uint32_t begin, end;  // columns [begin, end)
    uint32_t component;   // 0-based, in raster order of the components' first pixels; valid after number()
};

class MaskComponents {
  public:
    // connectivity 1: runs of neighbouring rows join where they overlap; 2: also where they touch at a corner.
    MaskComponents(size_t width, int connectivity) : width_(width), corner_(connectivity == 2 ? 1 : 0) {
        if (width >= std::numeric_limits<uint32_t>::max()) throw std::overflow_error("image is wider than 2^32 pixels");
        row_begin_.push_back(0);
    }

    // The next row down: width bytes of 0 or 1.
    void add_row(const uint8_t* row) {
        const size_t above = row_begin_.size() >= 2 ? row_begin_[row_begin_.size() - 2] : 0;
        const size_t here = runs_.size();
        append_runs(row);
        if (runs_.size() >= std::numeric_limits<uint32_t>::max()) throw std::overflow_error("mask has 2^32 runs");
        for (size_t i = here; i < runs_.size(); ++i) parent_.push_back(static_cast<uint32_t>(i));
        size_t a = above, b = here;
        while (a < here && b < runs_.size()) {
            if (runs_[a].begin < runs_[b].end + corner_ && runs_[b].begin < runs_[a].end + corner_) join(a, b);
            if (runs_[a].end < runs_[b].end)
                ++a;
            else
                ++b;
        }
        row_begin_.push_back(runs_.size());
    }

    // Numbers the components and returns how many there are.
    size_t number() {
        size_t count = 0;
        for (size_t i = 0; i < runs_.size(); ++i)
            runs_[i].component = parent_[i] == i ? static_cast<uint32_t>(count++) : runs_[parent_[i]].component;
        if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
            throw std::overflow_error("more than 2147483647 components do not fit int32");
        return count;
    }

    const std::vector<MaskRun>& runs() const { return runs_; }
    // Runs of row y are [row_begin(y), row_begin(y + 1)).
    size_t row_begin(size_t y) const { return row_begin_[y]; }

  private:
    void append_runs(const uint8_t* row) {
        if (width_ == 0) return;
        bool inside = row[0] != 0;
        if (inside) runs_.push_back({0, 0, 0});
        for_each_edge(
            1, width_, [&](size_t first, size_t count, uint8_t* edge) { find_edges(row + first, count, edge); },
            [&](size_t x) {
                if (inside)
                    runs_.back().end = static_cast<uint32_t>(x);
                else
                    runs_.push_back({static_cast<uint32_t>(x), 0, 0});
                inside = !inside;
            });
        if (inside) runs_.back().end = static_cast<uint32_t>(width_);
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

    size_t width_;
    uint32_t corner_;
    std::vector<MaskRun> runs_;
    std::vector<uint32_t> parent_;
    std::vector<size_t> row_begin_;
};

}  // namespace dinocell
