// Numbers labels 0, 1, 2, ... in order of first sight: an open-addressing hash table from label to number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dinocell {

class LabelIndex {
  public:
    LabelIndex() : keys_(1024), numbers_(1024, 0), mask_(1023) {}

    // Number of `key`; a new key gets the next number.
    size_t operator[](uint64_t key) {
        size_t slot = mix(key) & mask_;
        while (numbers_[slot] != 0) {
            if (keys_[slot] == key) return numbers_[slot] - 1;
            slot = (slot + 1) & mask_;
        }
        if (2 * (order_.size() + 1) > numbers_.size()) {
            grow();
            slot = free_slot(key);
        }
        order_.push_back(key);
        keys_[slot] = key;
        numbers_[slot] = order_.size();
        return order_.size() - 1;
    }

    // Keys by number.
    const std::vector<uint64_t>& keys() const { return order_; }

  private:
    // splitmix64: labels often differ only in their high bits (a pair key, a plate number), so all bits must count.
    static uint64_t mix(uint64_t key) {
        key ^= key >> 30;
        key *= 0xbf58476d1ce4e5b9u;
        key ^= key >> 27;
        key *= 0x94d049bb133111ebu;
        return key ^ (key >> 31);
    }
    size_t free_slot(uint64_t key) const {
        size_t slot = mix(key) & mask_;
        while (numbers_[slot] != 0) slot = (slot + 1) & mask_;
        return slot;
    }
    void grow() {
        const size_t size = 2 * numbers_.size();
        keys_.assign(size, 0);
        numbers_.assign(size, 0);
        mask_ = size - 1;
        for (size_t number = 0; number < order_.size(); ++number) {
            const size_t slot = free_slot(order_[number]);
            keys_[slot] = order_[number];
            numbers_[slot] = number + 1;
        }
    }

    std::vector<uint64_t> keys_;
    std::vector<size_t> numbers_;  // number + 1; 0 marks a free slot
    std::vector<uint64_t> order_;
    size_t mask_;
};

}  // namespace dinocell
