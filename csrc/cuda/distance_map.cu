#include "dinocell/distance_map.hpp"

#include "distance_map_kernels.hpp"

namespace dinocell::cuda {

template <typename Label>
void distance_map(const Label* labels, size_t images, size_t height, size_t width, size_t num_labels,
                  bool border_is_background, float* out, uint16_t* runs, uint32_t* maxima, cudaStream_t stream) {
    auto* squares = reinterpret_cast<uint32_t*>(out);  // turned into distances in place
    device::distance_map(labels, images, height, width, num_labels, border_is_background, out, runs, squares, maxima,
                         device::Launcher{stream});
}

#define DINOCELL_DISTANCE_MAP(Label)                                                                             \
    template void distance_map(const Label*, size_t, size_t, size_t, size_t, bool, float*, uint16_t*, uint32_t*, \
                               cudaStream_t);
DINOCELL_DISTANCE_MAP(uint16_t)
DINOCELL_DISTANCE_MAP(int32_t)
DINOCELL_DISTANCE_MAP(int64_t)
#undef DINOCELL_DISTANCE_MAP

}  // namespace dinocell::cuda
