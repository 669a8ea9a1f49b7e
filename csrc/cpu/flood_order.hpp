// Which of two pixels a flood takes first, from the levels around them alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "flood.hpp"

namespace dinocell {

// The flood takes pixels by falling level, equal ones in the order in which they were reached: the one whose giver was
// taken first, or if they share it the one that comes first among its neighbours. A pixel's giver, from which it has
// its label, is the first taken of its neighbours. So the order follows from the levels, by recursion. On a plateau
// that recursion would follow the whole front of the flood; it gives up after a number of steps.
//
// level(p): the level of a pixel of the mask, less than all those for one outside. is_marker(p).
template <typename LevelOf, typename IsMarker>
class FloodOrder {
  public:
    FloodOrder(size_t height, size_t width, const LevelOf& level, const IsMarker& is_marker, size_t steps)
        : height_(height), width_(width), level_(level), is_marker_(is_marker), steps_(steps) {}

    // Whether answers have become meaningless because the steps were used up.
    bool gave_up() const { return steps_ == 0; }

    size_t giver(size_t pixel, int depth = 0) {
        size_t first = pixel;
        for_each_neighbour<1>(pixel, border_bits(pixel / width_, pixel % width_, height_, width_), width_,
                              [&](size_t q) {
                                  if (first == pixel || before(q, first, depth)) first = q;
                              });
        return first;
    }

  private:
    static constexpr int kDepth = 100;

    bool before(size_t a, size_t b, int depth) {
        if (steps_ == 0 || depth > kDepth) {
            steps_ = 0;
            return false;
        }
        --steps_;
        if (level_(a) != level_(b)) return level_(a) > level_(b);
        const bool marker_a = is_marker_(a), marker_b = is_marker_(b);
        if (marker_a || marker_b) return marker_a == marker_b ? a < b : marker_a;  // markers are older
        const size_t giver_a = giver(a, depth + 1), giver_b = giver(b, depth + 1);
        // Offsets rise in the order of neighbours: up, left, right, down.
        return giver_a == giver_b ? a < b : before(giver_a, giver_b, depth + 1);
    }

    size_t height_, width_;
    const LevelOf& level_;
    const IsMarker& is_marker_;
    size_t steps_;
};

}  // namespace dinocell
