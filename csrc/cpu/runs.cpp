#include "runs.hpp"

#include "simd.hpp"

namespace dinocell {

// Written out per type: GCC clones no templates.
#define DINOCELL_FIND_EDGES(Value)                                                                \
    DINOCELL_CLONES void find_edges(const Value* values, size_t count, uint8_t* edge) {           \
        for (size_t i = 0; i < count; ++i) edge[i] = values[i] != (values - 1)[i];                \
    }
DINOCELL_FIND_EDGES(uint8_t)
DINOCELL_FIND_EDGES(uint16_t)
DINOCELL_FIND_EDGES(int32_t)
DINOCELL_FIND_EDGES(int64_t)
#undef DINOCELL_FIND_EDGES

#define DINOCELL_FIND_PAIR_EDGES(Value)                                                                   \
    DINOCELL_CLONES void find_edges(const Value* a, const Value* b, size_t count, uint8_t* edge) {        \
        for (size_t i = 0; i < count; ++i)                                                                \
            edge[i] = static_cast<uint8_t>((a[i] != (a - 1)[i]) | (b[i] != (b - 1)[i]));                  \
    }
DINOCELL_FIND_PAIR_EDGES(uint16_t)
DINOCELL_FIND_PAIR_EDGES(int32_t)
DINOCELL_FIND_PAIR_EDGES(int64_t)
#undef DINOCELL_FIND_PAIR_EDGES

}  // namespace dinocell
