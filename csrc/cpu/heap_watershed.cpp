#include <utility>
#include <vector>

#include "dinocell/watershed.hpp"
#include "flood.hpp"

namespace dinocell {
namespace {

// The binary heap of skimage/segmentation/heap_general.pxi, swap by swap: equal items leave it in the same order.
class Heap {
  public:
    struct Item {
        double value;
        int32_t age;  // markers 0, then 2, 3, ...
        uint32_t pixel;
    };

    bool empty() const { return items_.empty(); }
    void push(const Item& item) {
        size_t child = items_.size();
        items_.push_back(item);
        while (child > 0) {
            const size_t parent = (child - 1) / 2;
            if (!smaller(child, parent)) return;
            std::swap(items_[child], items_[parent]);
            child = parent;
        }
    }
    Item pop() {
        const Item top = items_[0];
        items_[0] = items_.back();
        items_.pop_back();
        for (size_t i = 0;;) {
            const size_t left = 2 * i + 1, right = left + 1;
            size_t smallest = i;
            if (left < items_.size() && smaller(left, smallest)) smallest = left;
            if (right < items_.size() && smaller(right, smallest)) smallest = right;
            if (smallest == i) return top;
            std::swap(items_[i], items_[smallest]);
            i = smallest;
        }
    }

  private:
    bool smaller(size_t a, size_t b) const {
        const Item &x = items_[a], &y = items_[b];
        return x.value != y.value ? x.value < y.value : x.age < y.age;
    }
    std::vector<Item> items_;
};

template <int connectivity>
void flood(const double* image, size_t width, int32_t* labels, const std::vector<uint8_t>& states) {
    Heap heap;
    for (size_t p = 0; p < states.size(); ++p)
        if (labels[p] != 0) heap.push({image[p], 0, static_cast<uint32_t>(p)});
    uint32_t age = 1;
    while (!heap.empty()) {
        const Heap::Item item = heap.pop();
        for_each_neighbour<connectivity>(item.pixel, states[item.pixel], width, [&](size_t q) {
            if (!(states[q] & kFree) || labels[q] != 0) return;
            labels[q] = labels[item.pixel];
            heap.push({std::max(image[q], item.value), static_cast<int32_t>(++age), static_cast<uint32_t>(q)});
        });
    }
}

}  // namespace

void heap_watershed(const double* image, size_t height, size_t width, int32_t* labels, const uint8_t* mask,
                    int connectivity) {
    require_countable(height, width);
    const std::vector<uint8_t> states = flood_states(height, width, labels, mask);
    if (connectivity == 1)
        flood<1>(image, width, labels, states);
    else
        flood<2>(image, width, labels, states);
}

}  // namespace dinocell
