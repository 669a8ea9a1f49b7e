// Sorts items by an unsigned key, the least significant digit first: stable, and O(items) for each digit that differs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dinocell {

// key_of(item) is an unsigned integer.
template <typename Item, typename KeyOf>
void radix_sort(std::vector<Item>& items, const KeyOf& key_of) {
    using Key = decltype(key_of(items[0]));
    if (items.size() < 2) return;
    Key differing = 0;
    for (const Item& item : items) differing |= static_cast<Key>(key_of(item) ^ key_of(items[0]));
    constexpr size_t kBits = 11, kBins = size_t{1} << kBits;
    std::vector<Item> sorted(items.size());
    for (size_t shift = 0; shift < 8 * sizeof(Key); shift += kBits) {
        const auto digit = [shift](Key key) { return static_cast<size_t>(key >> shift) & (kBins - 1); };
        if (digit(differing) == 0) continue;
        size_t begin[kBins] = {};
        for (const Item& item : items) ++begin[digit(key_of(item))];
        size_t sum = 0;
        for (size_t& count : begin) {
            const size_t here = count;
            count = sum;
            sum += here;
        }
        for (const Item& item : items) sorted[begin[digit(key_of(item))]++] = item;
        items.swap(sorted);
    }
}

}  // namespace dinocell
