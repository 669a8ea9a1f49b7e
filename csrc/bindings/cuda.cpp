// The GPU kernels by addresses in device memory and a stream, as integers; dinocell_kernels.torch_ops calls them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <vector>

#include "dinocell/connected_components.hpp"
#include "dinocell/cuda.hpp"
#include "dinocell/distance_map.hpp"
#include "dinocell/relabel.hpp"
#include "dinocell/tiles.hpp"

namespace py = pybind11;

namespace {

using Starts = std::vector<int64_t>;

template <typename T>
T* pointer(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

CUstream_st* stream_of(uintptr_t stream) { return pointer<CUstream_st>(stream); }

template <typename Pixel, typename Out>
void gather(uintptr_t image, size_t channels, size_t height, size_t width, const Starts& ys, const Starts& xs,
            size_t tile, uintptr_t scale, uintptr_t offset, float low, float high, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::gather_tiles(pointer<const Pixel>(image), channels, height, width, ys.data(), ys.size(), xs.data(),
                                 xs.size(), tile, pointer<const float>(scale), pointer<const float>(offset), low, high,
                                 pointer<Out>(out), stream_of(stream));
}

template <typename In>
void blend(uintptr_t tiles, const Starts& ys, const Starts& xs, size_t tile, size_t overlap, int64_t row_begin,
           int64_t row_end, size_t width, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::blend_tiles(pointer<const In>(tiles), ys.size(), xs.size(), tile, ys.data(), xs.data(), overlap,
                                row_begin, row_end, width, pointer<float>(out), stream_of(stream));
}

template <typename Label>
void distance(uintptr_t labels, size_t height, size_t width, size_t num_labels, bool border_is_background,
              uintptr_t out, uintptr_t runs, uintptr_t maxima, uintptr_t stream) {
    dinocell::cuda::distance_map(pointer<const Label>(labels), height, width, num_labels, border_is_background,
                                 pointer<float>(out), pointer<uint16_t>(runs), pointer<uint32_t>(maxima),
                                 stream_of(stream));
}

void components(uintptr_t mask, size_t height, size_t width, int connectivity, uintptr_t out, uintptr_t scratch,
                uintptr_t count, uintptr_t stream) {
    dinocell::cuda::connected_components(pointer<const uint8_t>(mask), height, width, connectivity,
                                         pointer<int32_t>(out), pointer<uint32_t>(scratch), pointer<int32_t>(count),
                                         stream_of(stream));
}

template <typename Label>
void relabelled(uintptr_t labels, size_t size, size_t num_labels, uintptr_t out, uintptr_t scratch, uintptr_t count,
                uintptr_t stream) {
    dinocell::cuda::relabel(pointer<const Label>(labels), size, num_labels, pointer<int32_t>(out),
                            pointer<uint32_t>(scratch), pointer<int32_t>(count), stream_of(stream));
}

template <typename Label>
void without_small(uintptr_t labels, size_t size, size_t num_labels, size_t min_size, uintptr_t out, uintptr_t scratch,
                   uintptr_t count, uintptr_t stream) {
    dinocell::cuda::remove_small(pointer<const Label>(labels), size, num_labels, min_size, pointer<int32_t>(out),
                                 pointer<uint32_t>(scratch), pointer<int32_t>(count), stream_of(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    namespace cuda = dinocell::cuda;
    module.def("runtime_version", &cuda::runtime_version);
    module.def("driver_version", &cuda::driver_version);
    module.def("gather_tiles_uint8_float32", &gather<uint8_t, float>);
    module.def("gather_tiles_uint16_float32", &gather<uint16_t, float>);
    module.def("gather_tiles_float32_float32", &gather<float, float>);
    module.def("gather_tiles_uint8_bfloat16", &gather<uint8_t, cuda::Bfloat16>);
    module.def("gather_tiles_uint16_bfloat16", &gather<uint16_t, cuda::Bfloat16>);
    module.def("gather_tiles_float32_bfloat16", &gather<float, cuda::Bfloat16>);
    module.def("blend_tiles_float32", &blend<float>);
    module.def("blend_tiles_bfloat16", &blend<cuda::Bfloat16>);
    module.def("connected_components_scratch", &cuda::connected_components_scratch);
    module.def("connected_components", &components);
    module.def("relabel_scratch", &cuda::relabel_scratch);
    module.def("relabel_uint16", &relabelled<uint16_t>);
    module.def("relabel_int32", &relabelled<int32_t>);
    module.def("relabel_int64", &relabelled<int64_t>);
    module.def("remove_small_uint16", &without_small<uint16_t>);
    module.def("remove_small_int32", &without_small<int32_t>);
    module.def("remove_small_int64", &without_small<int64_t>);
    module.def("distance_map_uint16", &distance<uint16_t>);
    module.def("distance_map_int32", &distance<int32_t>);
    module.def("distance_map_int64", &distance<int64_t>);
}
