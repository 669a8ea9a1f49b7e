#include "dinocell/tiles.hpp"

#include <cuda_bf16.h>

#include "starts.hpp"

namespace dinocell::cuda {

using device::Launcher;
using device::starts_of;

template <typename Pixel, typename Out>
void gather_tiles(const Pixel* image, size_t images, size_t channels, size_t height, size_t width, const int64_t* ys,
                  size_t num_ys, const int64_t* xs, size_t num_xs, size_t tile, const float* scale, const float* offset,
                  float low, float high, Out* out, cudaStream_t stream) {
    const device::Gather<Pixel, Out> kernel{image,
                                            images,
                                            static_cast<int64_t>(height),
                                            static_cast<int64_t>(width),
                                            static_cast<uint32_t>(channels),
                                            static_cast<uint32_t>(tile),
                                            scale,
                                            offset,
                                            low,
                                            high,
                                            out,
                                            starts_of(ys, num_ys, "ys"),
                                            starts_of(xs, num_xs, "xs")};
    Launcher{stream}("gather_tiles", kernel);
}

template <typename In>
void blend_tiles(const In* tiles, size_t images, size_t num_ys, size_t num_xs, size_t tile, const int64_t* ys,
                 const int64_t* xs, size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out,
                 cudaStream_t stream) {
    const device::Blend<In> kernel{tiles,
                                   images,
                                   static_cast<uint32_t>(tile),
                                   static_cast<uint32_t>(overlap),
                                   row_begin,
                                   static_cast<uint64_t>(row_end - row_begin),
                                   width,
                                   out,
                                   starts_of(ys, num_ys, "ys"),
                                   starts_of(xs, num_xs, "xs")};
    Launcher{stream}("blend_tiles", kernel);
}

void spread_tiles(const float* image, size_t images, const int64_t* ys, size_t num_ys, const int64_t* xs, size_t num_xs,
                  size_t tile, size_t overlap, int64_t row_begin, int64_t row_end, size_t width, float* out,
                  cudaStream_t stream) {
    const device::Spread kernel{image,
                                images,
                                static_cast<uint32_t>(tile),
                                static_cast<uint32_t>(overlap),
                                row_begin,
                                row_end,
                                static_cast<int64_t>(width),
                                out,
                                starts_of(ys, num_ys, "ys"),
                                starts_of(xs, num_xs, "xs")};
    Launcher{stream}("spread_tiles", kernel);
}

#define DINOCELL_GATHER(Pixel, Out)                                                                                  \
    template void gather_tiles(const Pixel*, size_t, size_t, size_t, size_t, const int64_t*, size_t, const int64_t*, \
                               size_t, size_t, const float*, const float*, float, float, Out*, cudaStream_t);
DINOCELL_GATHER(uint8_t, float)
DINOCELL_GATHER(uint16_t, float)
DINOCELL_GATHER(float, float)
DINOCELL_GATHER(uint8_t, __nv_bfloat16)
DINOCELL_GATHER(uint16_t, __nv_bfloat16)
DINOCELL_GATHER(float, __nv_bfloat16)
#undef DINOCELL_GATHER

#define DINOCELL_BLEND(In)                                                                                       \
    template void blend_tiles(const In*, size_t, size_t, size_t, size_t, const int64_t*, const int64_t*, size_t, \
                              int64_t, int64_t, size_t, float*, cudaStream_t);
DINOCELL_BLEND(float)
DINOCELL_BLEND(__nv_bfloat16)
#undef DINOCELL_BLEND

}  // namespace dinocell::cuda
