// Method: thresholds and components as runs; components of the mask with one marker are filled. In the others every
// pixel takes its label from its highest neighbour (steepest ascent of the map, so descent of the flooded -map). Then
// labels are checked: the flood takes pixels by falling level, where the level of a pixel is its own value, or if it
// lies in a pit (a regional maximum without marker) at most the level at which the flood enters the pit. So a pixel is
// labelled by one of its highest neighbours by level. If in a component all of these carry the label the pixel has,
// the labels are those of the flood, whatever the order among equals (induction over the order of labelling).
// Where a few pixels fail, the order of their neighbours is found from the levels around them (flood_order.hpp);
// components with many such pixels are flooded pixel by pixel.
#include "dinocell/watershed.hpp"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "flood.hpp"
#include "flood_order.hpp"
#include "mask_components.hpp"
#include "parallel.hpp"
#include "pit_levels.hpp"
#include "row_window.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

constexpr int32_t kOpen = std::numeric_limits<int32_t>::min();  // a pixel without label or pointer yet
constexpr size_t kMaxDoubts = 4096;         // in one component, to be settled one by one
constexpr size_t kSteps = 20000;            // for settling one
constexpr uint32_t kNone = 0xffffffffu;
constexpr uint32_t kSeveral = 0xfffffffeu;

struct RowEdges {
    explicit RowEdges(size_t width)
        : mask_bits(width / 64 + 1), marker_bits(width / 64 + 1), mask(width + 2), markers(width + 2) {}
    std::vector<uint64_t> mask_bits, marker_bits;
    std::vector<uint32_t> mask, markers;
    size_t num_mask = 0, num_markers = 0;
};

struct RowFill {
    size_t begin, end;
    int32_t value;
};

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "watershed.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
bool threshold_edges(Arguments&&... arguments) {
    DINOCELL_DISPATCH(threshold_edges(arguments...))
}
template <typename... Arguments>
void fill_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(fill_row(arguments...))
}
template <typename... Arguments>
bool point_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(point_row(arguments...))
}
template <typename... Arguments>
bool follow_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(follow_row(arguments...))
}
template <typename... Arguments>
bool certain_row(Arguments&&... arguments) {
    DINOCELL_DISPATCH(certain_row(arguments...))
}
template <typename... Arguments>
bool any_above(Arguments&&... arguments) {
    DINOCELL_DISPATCH(any_above(arguments...))
}

template <typename Value>
class MapWatershed {
  public:
    MapWatershed(const Value* map, size_t height, size_t width, Value peak, Value fill, int32_t* out,
                 size_t num_threads)
        : map_(map), height_(height), width_(width), peak_(peak), fill_(fill), out_(out), num_threads_(num_threads),
          bands_(height, num_threads), mask_(1), markers_(1), has_open_(height, 0), has_pits_(height, 0) {}

    void compute() {
        find_runs();
        const size_t count = mask_.number();
        num_markers_ = markers_.number();
        find_markers(count);
        write_fills();
        if (num_contested_ == 0) return;
        // Pointers and the numbers of pits must fit beside the labels.
        if (height_ * width_ + num_markers_ < static_cast<size_t>(std::numeric_limits<int32_t>::max()) - 1) {
            point();
            resolve();
            fill_pits();
            check();
            settle(count);
            label_pits();
        } else {
            failed_.assign(count, 1);
        }
        flood_failed();
    }

  private:
    // Calls visit(band) for every band of rows, in parallel.
    template <typename Visit>
    void for_each_band(const Visit& visit) {
        parallel_for(bands_.count(), num_threads_, visit);
    }

    void find_runs() {
        std::vector<MaskComponents> masks(bands_.count(), MaskComponents(1)), markers = masks;
        std::atomic<bool> nan{false};
        for_each_band([&](size_t band) {
            RowEdges edges(width_);
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y) {
                if (threshold_edges(map_ + y * width_, width_, fill_, peak_, edges)) nan = true;
                masks[band].add_row(edges.mask.data(), edges.num_mask);
                markers[band].add_row(edges.markers.data(), edges.num_markers);
            }
        });
        if (nan) throw std::invalid_argument("the distance map holds NaN");
        mask_ = joined(masks, 1);
        markers_ = joined(markers, 1);
    }

    // Calls visit(marker run, mask run) for every marker run of row y with the mask run it lies in.
    template <typename Visit>
    void for_each_marker_run(size_t y, const Visit& visit) const {
        size_t around = mask_.row_begin(y);
        for (size_t i = markers_.row_begin(y); i < markers_.row_begin(y + 1); ++i) {
            while (mask_.run(around).end < markers_.run(i).end) ++around;
            visit(i, around);
        }
    }

    // marker_of_[mask component] = its only marker, kNone or kSeveral.
    void find_markers(size_t count) {
        marker_of_.assign(count, kNone);
        for (size_t y = 0; y < height_; ++y)
            for_each_marker_run(y, [&](size_t marker, size_t around) {
                uint32_t& only = marker_of_[mask_.component(around)];
                const uint32_t here = markers_.component(marker);
                if (only != here && only != kSeveral) {
                    num_contested_ += only != kNone;
                    only = only == kNone ? here : kSeveral;
                }
            });
    }
    bool contested(size_t run) const { return marker_of_[mask_.component(run)] == kSeveral; }

    // Background, components with one marker, and the markers of contested ones, whose other pixels are kOpen.
    void write_fills() {
        for_each_band([&](size_t band) {
            std::vector<RowFill> fills(width_ + 1);
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y) {
                int32_t* row = out_ + y * width_;
                size_t x = 0, count = 0;
                for (size_t i = mask_.row_begin(y); i < mask_.row_begin(y + 1); ++i) {
                    const auto [begin, end] = mask_.run(i);
                    const uint32_t marker = marker_of_[mask_.component(i)];
                    int32_t value = static_cast<int32_t>(marker + 1);  // kNone becomes 0
                    if (marker == kSeveral) {
                        value = kOpen;
                        has_open_[y] = 1;
                    }
                    if (begin > x) fills[count++] = {x, begin, 0};
                    fills[count++] = {begin, end, value};
                    x = end;
                }
                if (width_ > x) fills[count++] = {x, width_, 0};
                fill_row(fills.data(), count, row, width_);
                if (!has_open_[y]) continue;
                for_each_marker_run(y, [&](size_t marker, size_t around) {
                    if (contested(around))
                        std::fill(row + markers_.run(marker).begin, row + markers_.run(marker).end,
                                  static_cast<int32_t>(markers_.component(marker) + 1));
                });
            }
        });
    }

    // Open pixels point to their highest neighbour; pits get numbers after those of the markers.
    void point() {
        std::vector<std::vector<uint32_t>> pits(bands_.count());
        for_each_band([&](size_t band) {
            RowWindow<Value> map(width_, -std::numeric_limits<Value>::infinity());
            std::vector<int32_t> above(width_);
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y) {
                if (!has_open_[y]) continue;
                map.move(y, height_, [&](size_t row, Value* to) { copy_row(map_, row, to); });
                const size_t base = y * width_;
                // The row above the band belongs to another thread.
                const bool first = y == bands_.begin(band);
                for (size_t x = 0; first && x < width_; ++x)
                    above[x] = ~static_cast<int32_t>(base + x - width_);
                int32_t* row = out_ + base;
                const bool summits =
                    point_row(map.up(), map.row(), map.down(), first ? above.data() : row - width_,
                              static_cast<int32_t>(base), static_cast<int32_t>(width_), width_, row);
                for (size_t x = 0; summits && x < width_; ++x)
                    if (row[x] == ~static_cast<int32_t>(base + x)) pits[band].push_back(static_cast<uint32_t>(base + x));
            }
        });
        for (const auto& found : pits)
            for (const uint32_t pixel : found) out_[pixel] = static_cast<int32_t>(num_markers_ + ++num_pits_);
    }

    // Every pointer becomes the number at its end: inside each band, then across the seams, then where they leave one.
    void resolve() {
        for_each_band([&](size_t band) {
            const size_t begin = bands_.begin(band), end = bands_.end(band);
            std::vector<uint8_t> open(has_open_.begin() + static_cast<ptrdiff_t>(begin),
                                      has_open_.begin() + static_cast<ptrdiff_t>(end));
            const auto follow = [&](size_t y) {
                if (open[y - begin])
                    open[y - begin] = follow_row(out_, y * width_, (y + 1) * width_, width_, begin * width_, end * width_);
                return open[y - begin] != 0;
            };
            for (bool left = true; left;) {
                left = false;
                for (size_t y = end; y-- > begin;) left |= follow(y);
                if (!left) break;
                left = false;
                for (size_t y = begin; y < end; ++y) left |= follow(y);
            }
        });
        if (bands_.count() <= 1) return;
        const auto resolve_row = [&](size_t y) {
            for (size_t p = y * width_; p < (y + 1) * width_; ++p) {
                int32_t to = out_[p];
                while (to < 0) to = out_[~to];
                if (out_[p] < 0) out_[p] = to;
            }
        };
        for (size_t band = 1; band < bands_.count(); ++band) {
            resolve_row(bands_.begin(band) - 1);
            resolve_row(bands_.begin(band));
        }
        for_each_band([&](size_t band) {
            for (size_t y = bands_.begin(band) + 1; y + 1 < bands_.end(band); ++y)
                if (has_open_[y]) resolve_row(y);
        });
    }

    // Finds the level and the label of every pit from the passes between basins.
    void fill_pits() {
        pits_ = std::make_unique<PitLevels<Value>>(num_markers_, num_pits_);
        if (num_pits_ == 0) return;
        const auto last_marker = static_cast<int32_t>(num_markers_);
        for_each_band([&](size_t band) {
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y)
                has_pits_[y] = has_open_[y] && any_above(out_ + y * width_, width_, last_marker);
        });
        for (size_t y = 0; y < height_; ++y) {
            if (!has_pits_[y]) continue;
            for (size_t x = 0, p = y * width_; x < width_; ++x, ++p) {
                if (out_[p] <= last_marker) continue;
                for_each_neighbour<1>(p, border_bits(y, x, height_, width_), width_, [&](size_t q) {
                    if (out_[q] > 0 && out_[q] != out_[p])
                        pits_->add_pass(static_cast<uint32_t>(out_[p]), static_cast<uint32_t>(out_[q]),
                                        std::min(map_[p], map_[q]));
                });
            }
        }
        pits_->solve();
    }

    // Collects the pixels whose label is in doubt.
    void check() {
        std::vector<std::vector<Doubt>> found(bands_.count());
        for_each_band([&](size_t band) {
            RowWindow<Value> levels(width_, -std::numeric_limits<Value>::infinity());
            RowWindow<int32_t> labels(width_, 0);
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y) {
                if (!has_open_[y]) continue;
                labels.move(y, height_, [&](size_t row, int32_t* to) {
                    copy_row(out_, row, to);
                    for (size_t x = 0; has_pits_[row] && x < width_; ++x) to[x] = label_of(to[x]);
                });
                levels.move(y, height_, [&](size_t row, Value* to) {
                    copy_row(map_, row, to);
                    for (size_t x = 0; has_pits_[row] && x < width_; ++x) to[x] = level_of(row * width_ + x);
                });
                const auto certain = [&](size_t x, size_t count) {
                    return certain_row(levels.up() + x, levels.row() + x, levels.down() + x, labels.up() + x,
                                       labels.row() + x, labels.down() + x, peak_, count);
                };
                if (certain(0, width_)) continue;
                for (size_t i = mask_.row_begin(y); i < mask_.row_begin(y + 1); ++i)
                    for (size_t x = mask_.run(i).begin; contested(i) && x < mask_.run(i).end; ++x)
                        if (!certain(x, 1)) found[band].push_back({y * width_ + x, mask_.component(i)});
            }
        });
        for (const auto& doubts : found) doubts_.insert(doubts_.end(), doubts.begin(), doubts.end());
    }

    int32_t label_of(int32_t basin) const { return pits_->is_pit(basin) ? pits_->label(basin) : basin; }
    Value level_of(size_t p) const {
        return pits_->is_pit(out_[p]) ? std::min(map_[p], pits_->level(out_[p])) : map_[p];
    }

    // Settles the doubts one by one: a pixel takes the label of its giver, and so do those it gives its own to. Marks
    // the components where that would take too long.
    void settle(size_t num_components) {
        failed_.assign(num_components, 0);
        std::vector<uint32_t> doubts_of(num_components, 0);
        for (const Doubt& doubt : doubts_) ++doubts_of[doubt.component];
        const auto level = [&](size_t p) { return level_of(p); };
        const auto is_marker = [&](size_t p) { return map_[p] > peak_; };
        std::vector<size_t> changed;
        for (const Doubt& doubt : doubts_) {
            uint8_t& failed = failed_[doubt.component];
            if (failed) continue;
            FloodOrder order(height_, width_, level, is_marker, kSteps);
            const auto take = [&](size_t p, size_t giver) {
                if (label_of(out_[p]) == label_of(out_[giver])) return;
                // Under water a pixel's level hangs on the pit it belongs to, which its new label would not tell.
                failed |= map_[p] != level_of(p);
                out_[p] = label_of(out_[giver]);
                changed.push_back(p);
            };
            failed = doubts_of[doubt.component] > kMaxDoubts;
            if (!failed) take(doubt.pixel, order.giver(doubt.pixel));
            while (!changed.empty() && !failed) {
                const size_t p = changed.back();
                changed.pop_back();
                for_each_neighbour<1>(p, border_bits(p / width_, p % width_, height_, width_), width_, [&](size_t q) {
                    if (map_[q] > fill_ && !is_marker(q) && order.giver(q) == p) take(q, p);
                });
                failed |= order.gave_up();
            }
            failed |= order.gave_up();
            changed.clear();
        }
    }

    // Numbers of pits become labels.
    void label_pits() {
        if (num_pits_ == 0) return;
        for_each_band([&](size_t band) {
            for (size_t y = bands_.begin(band); y < bands_.end(band); ++y)
                for (size_t p = y * width_; has_pits_[y] && p < (y + 1) * width_; ++p) out_[p] = label_of(out_[p]);
        });
    }

    // Pixels [begin, end) of the flat image.
    struct Span {
        size_t begin, end;
    };

    // Components never touch each other, so each floods on its own, sharing out_ and states.
    void flood_failed() {
        std::vector<uint32_t> number(failed_.size(), kNone);
        size_t num_failed = 0;
        for (size_t c = 0; c < failed_.size(); ++c)
            if (failed_[c] && marker_of_[c] == kSeveral) number[c] = static_cast<uint32_t>(num_failed++);
        if (num_failed == 0) return;
        // calloc: pages of cells that need no flooding are never touched.
        const std::unique_ptr<uint8_t, void (*)(void*)> states(
            static_cast<uint8_t*>(std::calloc(height_ * width_, 1)), std::free);
        if (!states) throw std::bad_alloc();

        std::vector<std::vector<Span>> mask_spans(num_failed), marker_spans(num_failed);
        for (size_t y = 0; y < height_; ++y) {
            const size_t row = y * width_;
            for (size_t i = mask_.row_begin(y); i < mask_.row_begin(y + 1); ++i)
                if (const uint32_t c = number[mask_.component(i)]; c != kNone)
                    mask_spans[c].push_back({row + mask_.run(i).begin, row + mask_.run(i).end});
            for_each_marker_run(y, [&](size_t marker, size_t around) {
                if (const uint32_t c = number[mask_.component(around)]; c != kNone)
                    marker_spans[c].push_back({row + markers_.run(marker).begin, row + markers_.run(marker).end});
            });
        }
        parallel_for(num_failed, num_threads_, [] { return Queue(); }, [&](size_t c, Queue& queue) {
            flood(mask_spans[c], marker_spans[c], states.get(), queue);
        });
    }

    using Queue = FloodQueue<decltype(order_key(Value{}))>;

    void flood(const std::vector<Span>& mask, const std::vector<Span>& markers, uint8_t* states, Queue& queue) {
        for (const Span& span : mask) {
            const size_t y = span.begin / width_;
            const size_t left = y * width_, right = left + width_ - 1;
            const auto vertical = static_cast<uint8_t>((y == 0 ? kTop : 0) | (y + 1 == height_ ? kBottom : 0) | kFree);
            std::fill(states + span.begin, states + span.end, vertical);
            if (span.begin == left) states[left] |= kLeft;
            if (span.end == right + 1) states[right] |= kRight;
        }
        for (const Span& span : markers)
            for (size_t p = span.begin; p < span.end; ++p) states[p] &= static_cast<uint8_t>(~kFree);
        const auto key_of = [this](size_t pixel) { return order_key(-map_[pixel]); };
        Flood<1, decltype(key_of)> flooding(key_of, width_, states, out_, queue);
        for (const Span& span : markers)
            for (size_t p = span.begin; p < span.end; ++p) flooding.seed(p);
        flooding.run();
    }

    template <typename T>
    void copy_row(const T* image, size_t y, T* to) const {
        std::copy(image + y * width_, image + (y + 1) * width_, to);
    }

    const Value* map_;
    size_t height_, width_;
    Value peak_, fill_;
    int32_t* out_;
    size_t num_threads_;
    Bands bands_;
    MaskComponents mask_, markers_;
    size_t num_markers_ = 0, num_contested_ = 0, num_pits_ = 0;
    std::vector<uint32_t> marker_of_;
    std::vector<uint8_t> has_open_, has_pits_;  // by row
    std::unique_ptr<PitLevels<Value>> pits_;
    struct Doubt {
        size_t pixel;
        uint32_t component;
    };
    std::vector<Doubt> doubts_;
    std::vector<uint8_t> failed_;  // by mask component
};

}  // namespace

template <typename Value>
void watershed(const Value* map, size_t height, size_t width, double peak, double fill, int32_t* out,
               size_t num_threads) {
    if (width == 0) return;
    require_countable(height, width);
    MapWatershed<Value>(map, height, width, static_cast<Value>(peak), static_cast<Value>(fill), out,
                        resolve_threads(num_threads, height * width))
        .compute();
}

template void watershed(const float*, size_t, size_t, double, double, int32_t*, size_t);
template void watershed(const double*, size_t, size_t, double, double, int32_t*, size_t);

}  // namespace dinocell
