#include "dinocell/connected_components.hpp"

#include "batch.hpp"
#include "connected_components_kernels.hpp"

namespace dinocell::cuda {

size_t connected_components_scratch(size_t images, size_t height, size_t width) {
    return device::components_scratch(device::batch_of(images, height, width));
}

void connected_components(const uint8_t* mask, size_t images, size_t height, size_t width, int connectivity,
                          int32_t* out, uint32_t* scratch, int32_t* counts, cudaStream_t stream) {
    device::connected_components(mask, device::batch_of(images, height, width), connectivity, out, scratch, counts,
                                 device::Launcher{stream});
}

}  // namespace dinocell::cuda
