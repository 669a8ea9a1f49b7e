#include "dinocell/relabel.hpp"

#include "batch.hpp"
#include "relabel_kernels.hpp"

namespace dinocell::cuda {
namespace {

template <typename Label>
device::Listed<Label> listed(const Label* labels, size_t images, size_t pixels_each, size_t num_labels) {
    device::require_pixels_fit(images, pixels_each);
    return {labels, static_cast<uint32_t>(images), static_cast<uint32_t>(pixels_each), num_labels};
}

}  // namespace

size_t relabel_scratch(size_t images, size_t pixels_each, size_t num_labels) {
    device::require_pixels_fit(images, pixels_each);
    return device::relabel_scratch(images, pixels_each, num_labels);
}

template <typename Label>
void relabel(const Label* labels, size_t images, size_t pixels_each, size_t num_labels, int32_t* out, uint32_t* scratch,
             int32_t* counts, cudaStream_t stream) {
    device::relabel(listed(labels, images, pixels_each, num_labels), out, scratch, counts, device::Launcher{stream});
}

template <typename Label>
void remove_small(const Label* labels, size_t images, size_t pixels_each, size_t num_labels, size_t min_size,
                  int32_t* out, uint32_t* scratch, int32_t* counts, cudaStream_t stream) {
    device::remove_small(listed(labels, images, pixels_each, num_labels), min_size, out, scratch, counts,
                         device::Launcher{stream});
}

#define DINOCELL_RELABEL(Label)                                                                               \
    template void relabel(const Label*, size_t, size_t, size_t, int32_t*, uint32_t*, int32_t*, cudaStream_t); \
    template void remove_small(const Label*, size_t, size_t, size_t, size_t, int32_t*, uint32_t*, int32_t*,   \
                               cudaStream_t);
DINOCELL_RELABEL(uint16_t)
DINOCELL_RELABEL(int32_t)
DINOCELL_RELABEL(int64_t)
#undef DINOCELL_RELABEL

}  // namespace dinocell::cuda
