#include "dinocell/watershed.hpp"

#include "batch.hpp"
#include "watershed_kernels.hpp"

namespace dinocell::cuda {

size_t watershed_scratch(size_t images, size_t height, size_t width, bool by_prominence) {
    return device::watershed_scratch(device::batch_of(images, height, width), by_prominence);
}

void watershed(const float* map, size_t images, size_t height, size_t width, float peak, float fill, float prominence,
               int32_t* out, uint64_t* scratch, int32_t* status, cudaStream_t stream) {
    device::watershed(map, device::batch_of(images, height, width), peak, fill, prominence, out, scratch, status,
                      device::Launcher{stream});
}

}  // namespace dinocell::cuda
