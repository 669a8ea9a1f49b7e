// Pixels by pair of labels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "checked.hpp"
#include "radix_sort.hpp"

namespace dinocell {

// Two labels of up to 32 bits as one word; such words order as pairs of signed labels do.
struct NarrowPair {
    template <typename Label>
    NarrowPair(Label truth, Label predicted) : word(half(truth) << 32 | half(predicted)) {}
    NarrowPair() = default;

    int64_t truth() const { return label(word >> 32); }
    int64_t predicted() const { return label(word & 0xffffffffu); }
    bool operator==(const NarrowPair&) const = default;
    bool operator<(const NarrowPair& other) const { return word < other.word; }
    // Fibonacci hashing of a word whose upper half has been folded in: both labels reach the bits that count.
    uint64_t hash() const { return (word ^ word >> 32) * 0x9e3779b97f4a7c15u; }
    template <typename Slot>
    static void sort(std::vector<Slot>& slots) {
        radix_sort(slots, [](const Slot& slot) { return slot.pair.word; });
    }

    uint64_t word = 0;

  private:
    static constexpr uint64_t kSign = 0x80000000u;
    template <typename Label>
    static uint64_t half(Label label) {
        return static_cast<uint32_t>(label) ^ kSign;
    }
    static int64_t label(uint64_t half) { return static_cast<int32_t>(static_cast<uint32_t>(half ^ kSign)); }
};

struct WidePair {
    WidePair(int64_t truth, int64_t predicted) : first(truth), second(predicted) {}
    WidePair() = default;

    int64_t truth() const { return first; }
    int64_t predicted() const { return second; }
    bool operator==(const WidePair&) const = default;
    bool operator<(const WidePair& other) const {
        return std::tie(first, second) < std::tie(other.first, other.second);
    }
    uint64_t hash() const {
        const auto folded = [](int64_t label) {
            return static_cast<uint64_t>(label) ^ static_cast<uint64_t>(label) >> 32;
        };
        return (folded(first) * 0xbf58476d1ce4e5b9u ^ folded(second)) * 0x9e3779b97f4a7c15u;
    }
    template <typename Slot>
    static void sort(std::vector<Slot>& slots) {
        constexpr uint64_t kSign = uint64_t{1} << 63;
        radix_sort(slots, [](const Slot& slot) { return static_cast<uint64_t>(slot.pair.second) ^ kSign; });
        radix_sort(slots, [](const Slot& slot) { return static_cast<uint64_t>(slot.pair.first) ^ kSign; });
    }

    int64_t first = 0, second = 0;
};

// One row of an image meets few pairs and the next row nearly the same ones: they are counted in a small direct-mapped
// cache, where a pair is found at once or not at all. What leaves the cache is written to a list, which is sorted and
// summed when it has doubled: unlike a large hash table, that never waits for memory.
template <typename Pair>
class PairTable {
  public:
    struct Slot {
        Pair pair;
        uint64_t pixels = 0;
    };

    PairTable() : recent_(size_t{1} << kRecentBits) {}

    __attribute__((always_inline)) void add(Pair pair, uint64_t pixels) {
        Slot& slot = recent_[static_cast<size_t>(pair.hash() >> (64 - kRecentBits))];
        if (!(slot.pair == pair)) [[unlikely]]
            replace(slot, pair);
        slot.pixels += pixels;
    }

    // Ends the counting: all pairs that have pixels, sorted.
    std::vector<Slot> pairs() {
        for (const Slot& slot : recent_) keep(slot);
        sum();
        return std::move(kept_);
    }

  private:
    static constexpr int kRecentBits = cut_size(12, 3);

    __attribute__((noinline)) void replace(Slot& slot, Pair pair) {
        keep(slot);
        slot = {pair, 0};
    }
    void keep(const Slot& counted) {
        if (counted.pixels == 0) return;
        if (kept_.size() == limit_) {
            sum();
            limit_ = std::max(limit_, 2 * kept_.size());
        }
        kept_.push_back(counted);
    }
    // Brings the entries of each pair together.
    void sum() {
        Pair::sort(kept_);
        size_t count = 0;
        for (const Slot& slot : kept_)
            if (count > 0 && kept_[count - 1].pair == slot.pair)
                kept_[count - 1].pixels += slot.pixels;
            else
                kept_[count++] = slot;
        kept_.resize(count);
    }

    std::vector<Slot> recent_, kept_;
    size_t limit_ = cut_size(size_t{1} << 16, 8);
};

// The pairs of two sorted lists as one; what both hold is added up.
template <typename Slot>
std::vector<Slot> merged(const std::vector<Slot>& a, const std::vector<Slot>& b) {
    std::vector<Slot> all;
    all.reserve(a.size() + b.size());
    auto left = a.begin(), right = b.begin();
    while (left != a.end() && right != b.end()) {
        if (left->pair < right->pair) {
            all.push_back(*left++);
        } else if (right->pair < left->pair) {
            all.push_back(*right++);
        } else {
            all.push_back(*left++);
            all.back().pixels += right++->pixels;
        }
    }
    all.insert(all.end(), left, a.end());
    all.insert(all.end(), right, b.end());
    return all;
}

}  // namespace dinocell
