// Connected components of a mask as runs of foreground, without a label image (He, Chao & Suzuki 2008).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "checked.hpp"
#include "parallel.hpp"

namespace dinocell {

// Columns [begin, end) of a row.
struct Run {
    uint32_t begin, end;
};

// The runs of one row, with the component of each.
struct RowRuns {
    const Run* runs;
    const uint32_t* components;
    size_t count;
};

// Sets of numbers 0, 1, ...; the smallest of a set stands for it.
class DisjointSets {
  public:
    size_t size() const { return parent_.size(); }
    void add() { parent_.push_back(static_cast<uint32_t>(parent_.size())); }
    void join(size_t a, size_t b) {
        const uint32_t x = root(static_cast<uint32_t>(a)), y = root(static_cast<uint32_t>(b));
        if (x < y)
            parent_[y] = x;
        else
            parent_[x] = y;
    }
    // Numbers the sets in the order of their smallest members and returns how many there are; join nothing after it.
    size_t number() {
        size_t count = 0;
        for (size_t i = 0; i < parent_.size(); ++i)
            parent_[i] = parent_[i] == i ? static_cast<uint32_t>(count++) : parent_[parent_[i]];
        return count;
    }
    // After number(): the set of each member.
    std::vector<uint32_t>& numbers() { return parent_; }
    const std::vector<uint32_t>& numbers() const { return parent_; }

  private:
    uint32_t root(uint32_t i) {
        while (parent_[i] != i) {
            parent_[i] = parent_[parent_[i]];
            i = parent_[i];
        }
        return i;
    }
    std::vector<uint32_t> parent_;
};

// Calls join(i, j) for every run i of a row and j of the row below it that touch.
template <typename Join>
void for_each_touching(const RowRuns& above, const RowRuns& below, int connectivity, const Join& join) {
    const uint32_t corner = connectivity == 2 ? 1 : 0;
    for (size_t i = 0, j = 0; i < above.count && j < below.count;) {
        const Run a = above.runs[i], b = below.runs[j];
        if (a.begin < b.end + corner && b.begin < a.end + corner) join(i, j);
        if (a.end < b.end)
            ++i;
        else
            ++j;
    }
}

// Calls visit(run, its component, the component around it) for every run of `inner`, each of which lies in one of
// `outer`.
template <typename Visit>
void for_each_within(const RowRuns& inner, const RowRuns& outer, const Visit& visit) {
    for (size_t i = 0, around = 0; i < inner.count; ++i) {
        while (outer.runs[around].end < inner.runs[i].end) {
            ++around;
            DINOCELL_CHECK(around < outer.count);
        }
        DINOCELL_CHECK(outer.runs[around].begin <= inner.runs[i].begin);
        visit(inner.runs[i], inner.components[i], outer.components[around]);
    }
}

// Rows of a mask that one thread collects, joined to the rows above as they come.
class BandComponents {
  public:
    // connectivity 1: runs of neighbouring rows join where they overlap; 2: also where they touch at a corner.
    explicit BandComponents(int connectivity) : connectivity_(connectivity), row_begin_(1, 0) {}

    // The next row down, as the columns where foreground begins and ends in turn (an even number of them).
    void add_row(const uint32_t* edges, size_t count) {
        if (runs_.size() + count / 2 >= std::numeric_limits<uint32_t>::max())
            throw std::overflow_error("mask has 2^32 runs");
        for (size_t i = 0; i < count; i += 2) {
            sets_.add();
            runs_.push_back({edges[i], edges[i + 1]});
        }
        row_begin_.push_back(runs_.size());
        const size_t rows = num_rows();
        if (rows < 2) return;
        const size_t above = row_begin_[rows - 2], here = row_begin_[rows - 1];
        for_each_touching(row(rows - 2), row(rows - 1), connectivity_,
                          [&](size_t i, size_t j) { sets_.join(above + i, here + j); });
    }
    // Ends the band: its components are numbered 0, 1, ... in raster order of their first pixels.
    void number() { count_ = sets_.number(); }

    size_t count() const { return count_; }
    size_t num_rows() const { return row_begin_.size() - 1; }
    RowRuns row(size_t y) const {
        DINOCELL_CHECK(y < num_rows());
        const size_t begin = row_begin_[y];
        return {runs_.data() + begin, sets_.numbers().data() + begin, row_begin_[y + 1] - begin};
    }
    void rename(const uint32_t* names) {
        for (uint32_t& component : sets_.numbers()) component = names[component];
    }

  private:
    int connectivity_;
    std::vector<Run> runs_;
    DisjointSets sets_;  // of runs
    std::vector<size_t> row_begin_;
    size_t count_ = 0;
};

// The components of a mask whose bands are collected by different threads.
class MaskComponents {
  public:
    MaskComponents(int connectivity, const Bands& bands)
        : connectivity_(connectivity), rows_(bands), bands_(bands.count(), BandComponents(connectivity)) {}

    BandComponents& band(size_t i) { return bands_[i]; }

    // Numbers the components 0, 1, ... in raster order of their first pixels, when all bands are, and returns how many
    // there are.
    size_t number(size_t num_threads) {
        DisjointSets whole;
        std::vector<size_t> first(bands_.size() + 1, 0);
        for (size_t i = 0; i < bands_.size(); ++i) first[i + 1] = first[i] + bands_[i].count();
        if (first.back() > std::numeric_limits<uint32_t>::max()) throw std::overflow_error("mask has 2^32 components");
        while (whole.size() < first.back()) whole.add();
        for (size_t i = 1; i < bands_.size(); ++i) {
            const RowRuns above = bands_[i - 1].row(bands_[i - 1].num_rows() - 1), below = bands_[i].row(0);
            for_each_touching(above, below, connectivity_, [&](size_t a, size_t b) {
                whole.join(first[i - 1] + above.components[a], first[i] + below.components[b]);
            });
        }
        const size_t count = whole.number();
        if (count > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
            throw std::overflow_error("more than 2147483647 components do not fit int32");
        if (bands_.size() > 1)
            parallel_for(bands_.size(), num_threads,
                         [&](size_t i) { bands_[i].rename(whole.numbers().data() + first[i]); });
        return count;
    }

    RowRuns row(size_t y) const {
        const size_t band = rows_.of(y);
        DINOCELL_CHECK(band < bands_.size() && rows_.begin(band) <= y && y < rows_.end(band));
        return bands_[band].row(y - rows_.begin(band));
    }

  private:
    int connectivity_;
    Bands rows_;
    std::vector<BandComponents> bands_;
};

}  // namespace dinocell
