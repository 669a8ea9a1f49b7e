#include "dinocell/connected_components.hpp"

#include "connected_components_kernels.hpp"

namespace dinocell::cuda {

size_t connected_components_scratch(size_t height, size_t width) {
    return device::components_scratch(height * width);
}

void connected_components(const uint8_t* mask, size_t height, size_t width, int connectivity, int32_t* out,
                          uint32_t* scratch, int32_t* count, cudaStream_t stream) {
    device::connected_components(mask, height, width, connectivity, out, scratch, count, device::Launcher{stream});
}

}  // namespace dinocell::cuda
