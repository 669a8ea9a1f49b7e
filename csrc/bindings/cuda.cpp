// The GPU kernels by addresses in device memory and a stream, as integers; dinocell_kernels.torch_ops calls them.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dinocell/connected_components.hpp"
#include "dinocell/cuda.hpp"
#include "dinocell/distance_map.hpp"
#include "dinocell/label_overlap.hpp"
#include "dinocell/relabel.hpp"
#include "dinocell/sinkhorn.hpp"
#include "dinocell/tiles.hpp"
#include "dinocell/watershed.hpp"

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

template <typename Label>
void overlap(uintptr_t truth, uintptr_t predicted, size_t size, size_t capacity, uintptr_t pairs, uintptr_t counts,
             uintptr_t scratch, uintptr_t status, uintptr_t stream) {
    dinocell::cuda::label_overlap(pointer<const Label>(truth), pointer<const Label>(predicted), size, capacity,
                                  pointer<uint64_t>(pairs), pointer<int64_t>(counts), pointer<uint64_t>(scratch),
                                  pointer<int32_t>(status), stream_of(stream));
}

void flood(uintptr_t map, size_t height, size_t width, float peak, float fill, float prominence, uintptr_t out,
           uintptr_t scratch, uintptr_t status, uintptr_t stream) {
    dinocell::cuda::watershed(pointer<const float>(map), height, width, peak, fill, prominence, pointer<int32_t>(out),
                              pointer<uint64_t>(scratch), pointer<int32_t>(status), stream_of(stream));
}

template <typename Logit>
void sample_max(uintptr_t logits, size_t num_samples, size_t num_prototypes, float temperature, uintptr_t out,
                uintptr_t stream) {
    dinocell::cuda::sinkhorn_sample_max(pointer<const Logit>(logits), num_samples, num_prototypes, temperature,
                                        pointer<float>(out), stream_of(stream));
}

template <typename Logit>
void prototype_mass(uintptr_t logits, size_t num_samples, size_t num_prototypes, float temperature, uintptr_t maxima,
                    uintptr_t v, uintptr_t out, uintptr_t scratch, uintptr_t stream) {
    dinocell::cuda::sinkhorn_prototype_mass(pointer<const Logit>(logits), num_samples, num_prototypes, temperature,
                                            pointer<const float>(maxima), pointer<const float>(v), pointer<float>(out),
                                            pointer<float>(scratch), stream_of(stream));
}

template <typename Logit>
void sample_mass(uintptr_t logits, size_t num_samples, size_t num_prototypes, float temperature, uintptr_t maxima,
                 uintptr_t u, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::sinkhorn_sample_mass(pointer<const Logit>(logits), num_samples, num_prototypes, temperature,
                                         pointer<const float>(maxima), pointer<const float>(u), pointer<float>(out),
                                         stream_of(stream));
}

template <typename Logit>
void targets(uintptr_t logits, size_t num_samples, size_t num_prototypes, float temperature, uintptr_t maxima,
             uintptr_t u, uintptr_t v, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::sinkhorn_targets(pointer<const Logit>(logits), num_samples, num_prototypes, temperature,
                                     pointer<const float>(maxima), pointer<const float>(u), pointer<const float>(v),
                                     pointer<float>(out), stream_of(stream));
}

template <typename Logit>
void define_sinkhorn(py::module_& module, const std::string& dtype) {
    module.def(("sinkhorn_sample_max_" + dtype).c_str(), &sample_max<Logit>);
    module.def(("sinkhorn_prototype_mass_" + dtype).c_str(), &prototype_mass<Logit>);
    module.def(("sinkhorn_sample_mass_" + dtype).c_str(), &sample_mass<Logit>);
    module.def(("sinkhorn_targets_" + dtype).c_str(), &targets<Logit>);
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
    module.def("label_overlap_scratch", &cuda::label_overlap_scratch);
    module.def("label_overlap_uint16", &overlap<uint16_t>);
    module.def("label_overlap_int32", &overlap<int32_t>);
    module.def("label_overlap_int64", &overlap<int64_t>);
    module.def("watershed_scratch", &cuda::watershed_scratch);
    module.def("watershed", &flood);
    module.def("sinkhorn_scratch", &cuda::sinkhorn_scratch);
    define_sinkhorn<float>(module, "float32");
    define_sinkhorn<cuda::Bfloat16>(module, "bfloat16");
    module.def("distance_map_uint16", &distance<uint16_t>);
    module.def("distance_map_int32", &distance<int32_t>);
    module.def("distance_map_int64", &distance<int64_t>);
}
