#include "dinocell/label_overlap.hpp"

#include "label_overlap_kernels.hpp"

namespace dinocell::cuda {

size_t label_overlap_scratch(size_t capacity) { return device::overlap_scratch(capacity); }

template <typename Label>
void label_overlap(const Label* truth, const Label* predicted, size_t size, size_t capacity, uint64_t* pairs,
                   int64_t* counts, uint64_t* scratch, int32_t* status, cudaStream_t stream) {
    device::label_overlap(truth, predicted, size, capacity, pairs, counts, scratch, status, device::Launcher{stream});
}

#define DINOCELL_LABEL_OVERLAP(Label)                                                                                 \
    template void label_overlap(const Label*, const Label*, size_t, size_t, uint64_t*, int64_t*, uint64_t*, int32_t*, \
                                cudaStream_t);
DINOCELL_LABEL_OVERLAP(uint16_t)
DINOCELL_LABEL_OVERLAP(int32_t)
DINOCELL_LABEL_OVERLAP(int64_t)
#undef DINOCELL_LABEL_OVERLAP

}  // namespace dinocell::cuda
