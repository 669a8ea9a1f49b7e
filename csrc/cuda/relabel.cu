#include "dinocell/relabel.hpp"

#include "relabel_kernels.hpp"

namespace dinocell::cuda {

size_t relabel_scratch(size_t size, size_t num_labels) { return device::relabel_scratch(size, num_labels); }

template <typename Label>
void relabel(const Label* labels, size_t size, size_t num_labels, int32_t* out, uint32_t* scratch, int32_t* count,
             cudaStream_t stream) {
    device::relabel(labels, size, num_labels, out, scratch, count, device::Launcher{stream});
}

template <typename Label>
void remove_small(const Label* labels, size_t size, size_t num_labels, size_t min_size, int32_t* out,
                  uint32_t* scratch, int32_t* count, cudaStream_t stream) {
    device::remove_small(labels, size, num_labels, min_size, out, scratch, count, device::Launcher{stream});
}

#define DINOCELL_RELABEL(Label)                                                                      \
    template void relabel(const Label*, size_t, size_t, int32_t*, uint32_t*, int32_t*, cudaStream_t); \
    template void remove_small(const Label*, size_t, size_t, size_t, int32_t*, uint32_t*, int32_t*, cudaStream_t);
DINOCELL_RELABEL(uint16_t)
DINOCELL_RELABEL(int32_t)
DINOCELL_RELABEL(int64_t)
#undef DINOCELL_RELABEL

}  // namespace dinocell::cuda
