// A moving window of three rows.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace dinocell {

// Three rows of an image, each with one value before and after it; rows outside are filled with `outside`.
template <typename Value>
class RowWindow {
  public:
    RowWindow(size_t width, Value outside) : stride_(width + 2), outside_(outside), rows_(3 * stride_, outside) {}

    // Makes y - 1, y and y + 1 the rows at hand; load(y, to) copies one.
    template <typename Load>
    void move(size_t y, size_t height, const Load& load) {
        for (size_t row = y; row <= y + 2; ++row) {  // counted from 1, so that 0 and height + 1 lie outside
            if (held_[row % 3] == row) continue;
            held_[row % 3] = row;
            Value* to = rows_.data() + row % 3 * stride_ + 1;
            if (row == 0 || row == height + 1)
                std::fill(to, to + stride_ - 2, outside_);
            else
                load(row - 1, to);
        }
        at_ = y;
    }
    const Value* up() const { return rows_.data() + at_ % 3 * stride_ + 1; }
    const Value* row() const { return rows_.data() + (at_ + 1) % 3 * stride_ + 1; }
    const Value* down() const { return rows_.data() + (at_ + 2) % 3 * stride_ + 1; }

  private:
    size_t stride_, at_ = 0;
    Value outside_;
    std::vector<Value> rows_;
    std::array<size_t, 3> held_{~size_t{0}, ~size_t{0}, ~size_t{0}};
};

}  // namespace dinocell
