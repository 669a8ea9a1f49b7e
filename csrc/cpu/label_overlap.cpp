#include "dinocell/label_overlap.hpp"

#include "label_numbers.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace dinocell {
namespace {

// Pixels by 64-bit key: open addressing, a slot is free while it has no pixels.
class PairTable {
  public:
    struct Slot {
        uint64_t key, pixels;
    };

    PairTable() : slots_(1024) {}

    void add(uint64_t key, uint64_t pixels) {
        Slot* slot = find(key);
        if (slot->pixels == 0) {
            if (8 * ++used_ > 3 * slots_.size()) {  // few collisions: each is a branch that cannot be foreseen
                grow();
                slot = find(key);
            }
            slot->key = key;
        }
        slot->pixels += pixels;
    }
    std::vector<Slot> pairs() const {
        std::vector<Slot> found;
        found.reserve(used_);
        for (const Slot& slot : slots_)
            if (slot.pixels != 0) found.push_back(slot);
        return found;
    }

  private:
    // Fibonacci hashing of a key whose upper half has been folded in: both labels reach the bits that count.
    Slot* find(uint64_t key) {
        size_t at = static_cast<size_t>((key ^ key >> 32) * 0x9e3779b97f4a7c15u >> shift_);
        while (slots_[at].pixels != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
        return &slots_[at];
    }
    void grow() {
        std::vector<Slot> old(2 * slots_.size());
        old.swap(slots_);
        --shift_;
        for (const Slot& slot : old)
            if (slot.pixels != 0) *find(slot.key) = slot;
    }

    std::vector<Slot> slots_;
    size_t used_ = 0;
    int shift_ = 64 - 10;
};

}  // namespace
}  // namespace dinocell

#define DINOCELL_PER_ISA "label_overlap.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
void count_pairs(Arguments&&... arguments) {
    DINOCELL_DISPATCH(count_pairs(arguments...))
}

// Keys that order as pairs of signed labels of up to 32 bits do.
constexpr uint64_t kSign = 0x80000000u;
template <typename Label>
uint64_t narrow_key(Label truth, Label predicted) {
    const auto half = [](Label label) { return static_cast<uint32_t>(label) ^ kSign; };
    return half(truth) << 32 | half(predicted);
}
int64_t narrow_label(uint64_t half) { return static_cast<int32_t>(static_cast<uint32_t>(half ^ kSign)); }

std::vector<PairTable::Slot> sorted(const PairTable& table) {
    std::vector<PairTable::Slot> pairs = table.pairs();
    std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    return pairs;
}

}  // namespace

template <typename Label>
std::vector<LabelPair> label_overlap(const Label* truth, const Label* predicted, size_t size) {
    PairTable table;
    std::vector<LabelPair> result;
    if constexpr (sizeof(Label) <= 4) {
        const auto key_of = [](Label a, Label b) { return narrow_key(a, b); };
        count_pairs(truth, predicted, size, key_of, table);
        for (const auto& [key, pixels] : sorted(table))
            result.push_back({narrow_label(key >> 32), narrow_label(key & 0xffffffffu), static_cast<int64_t>(pixels)});
    } else {
        // Longer labels are numbered first, so that two fit a key.
        LabelNumbers<Label> truths(size), predictions(size);
        const auto key_of = [&](Label a, Label b) { return uint64_t{truths[a]} << 32 | predictions[b]; };
        count_pairs(truth, predicted, size, key_of, table);
        for (const auto& [key, pixels] : table.pairs())
            result.push_back({truths.label(static_cast<uint32_t>(key >> 32)),
                              predictions.label(static_cast<uint32_t>(key)), static_cast<int64_t>(pixels)});
        std::sort(result.begin(), result.end(), [](const LabelPair& a, const LabelPair& b) {
            return a.truth != b.truth ? a.truth < b.truth : a.predicted < b.predicted;
        });
    }
    return result;
}

template std::vector<LabelPair> label_overlap(const uint16_t*, const uint16_t*, size_t);
template std::vector<LabelPair> label_overlap(const int32_t*, const int32_t*, size_t);
template std::vector<LabelPair> label_overlap(const int64_t*, const int64_t*, size_t);

}  // namespace dinocell
