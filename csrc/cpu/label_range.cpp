#include "label_range.hpp"

#include <algorithm>

#include "simd.hpp"

namespace dinocell {

// Written out per type: GCC clones no templates.
#define DINOCELL_LABEL_RANGE(Label)                                                            \
    DINOCELL_CLONES LabelRange<Label> label_range(const Label* labels, size_t size) {          \
        Label least = labels[0], most = labels[0];                                             \
        for (size_t i = 0; i < size; ++i) {                                                    \
            least = std::min(least, labels[i]);                                                \
            most = std::max(most, labels[i]);                                                  \
        }                                                                                      \
        return {least, most};                                                                  \
    }
DINOCELL_LABEL_RANGE(uint16_t)
DINOCELL_LABEL_RANGE(int32_t)
DINOCELL_LABEL_RANGE(int64_t)
#undef DINOCELL_LABEL_RANGE

}  // namespace dinocell
