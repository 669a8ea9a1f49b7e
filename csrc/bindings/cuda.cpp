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
void gather(uintptr_t image, size_t images, size_t channels, size_t height, size_t width, const Starts& ys,
            const Starts& xs, size_t tile, uintptr_t scale, uintptr_t offset, float low, float high, uintptr_t out,
            uintptr_t stream) {
    dinocell::cuda::gather_tiles(pointer<const Pixel>(image), images, channels, height, width, ys.data(), ys.size(),
                                 xs.data(), xs.size(), tile, pointer<const float>(scale), pointer<const float>(offset),
                                 low, high, pointer<Out>(out), stream_of(stream));
}

template <typename In>
void blend(uintptr_t tiles, size_t images, const Starts& ys, const Starts& xs, size_t tile, size_t overlap,
           int64_t row_begin, int64_t row_end, size_t width, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::blend_tiles(pointer<const In>(tiles), images, ys.size(), xs.size(), tile, ys.data(), xs.data(),
                                overlap, row_begin, row_end, width, pointer<float>(out), stream_of(stream));
}

void spread(uintptr_t image, size_t images, const Starts& ys, const Starts& xs, size_t tile, size_t overlap,
            int64_t row_begin, int64_t row_end, size_t width, uintptr_t out, uintptr_t stream) {
    dinocell::cuda::spread_tiles(pointer<const float>(image), images, ys.data(), ys.size(), xs.data(), xs.size(), tile,
                                 overlap, row_begin, row_end, width, pointer<float>(out), stream_of(stream));
}

template <typename Label>
void distance(uintptr_t labels, size_t images, size_t height, size_t width, size_t num_labels,
              bool border_is_background, uintptr_t out, uintptr_t runs, uintptr_t maxima, uintptr_t stream) {
    dinocell::cuda::distance_map(pointer<const Label>(labels), images, height, width, num_labels, border_is_background,
                                 pointer<float>(out), pointer<uint16_t>(runs), pointer<uint32_t>(maxima),
                                 stream_of(stream));
}

void components(uintptr_t mask, size_t images, size_t height, size_t width, int connectivity, uintptr_t out,
                uintptr_t scratch, uintptr_t counts, uintptr_t stream) {
    dinocell::cuda::connected_components(pointer<const uint8_t>(mask), images, height, width, connectivity,
                                         pointer<int32_t>(out), pointer<uint32_t>(scratch), pointer<int32_t>(counts),
                                         stream_of(stream));
}

template <typename Label>
void relabelled(uintptr_t labels, size_t images, size_t pixels_each, size_t num_labels, uintptr_t out,
                uintptr_t scratch, uintptr_t counts, uintptr_t stream) {
    dinocell::cuda::relabel(pointer<const Label>(labels), images, pixels_each, num_labels, pointer<int32_t>(out),
                            pointer<uint32_t>(scratch), pointer<int32_t>(counts), stream_of(stream));
}

template <typename Label>
void without_small(uintptr_t labels, size_t images, size_t pixels_each, size_t num_labels, size_t min_size,
                   uintptr_t out, uintptr_t scratch, uintptr_t counts, uintptr_t stream) {
    dinocell::cuda::remove_small(pointer<const Label>(labels), images, pixels_each, num_labels, min_size,
                                 pointer<int32_t>(out), pointer<uint32_t>(scratch), pointer<int32_t>(counts),
                                 stream_of(stream));
}

template <typename Label>
void overlap(uintptr_t truth, uintptr_t predicted, size_t size, size_t capacity, uintptr_t pairs, uintptr_t counts,
             uintptr_t scratch, uintptr_t status, uintptr_t stream) {
    dinocell::cuda::label_overlap(pointer<const Label>(truth), pointer<const Label>(predicted), size, capacity,
                                  pointer<uint64_t>(pairs), pointer<int64_t>(counts), pointer<uint64_t>(scratch),
                                  pointer<int32_t>(status), stream_of(stream));
}

void flood(uintptr_t map, size_t images, size_t height, size_t width, float peak, float fill, float prominence,
           uintptr_t out, uintptr_t scratch, uintptr_t status, uintptr_t stream) {
    dinocell::cuda::watershed(pointer<const float>(map), images, height, width, peak, fill, prominence,
                              pointer<int32_t>(out), pointer<uint64_t>(scratch), pointer<int32_t>(status),
                              stream_of(stream));
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

// Other Python threads run while work is queued, which waits where a stream's queue is full.
template <typename Function>
void define(py::module_& module, const std::string& name, Function* function) {
    module.def(name.c_str(), function, py::call_guard<py::gil_scoped_release>());
}

template <typename Label>
void define_labels(py::module_& module, const std::string& dtype) {
    define(module, "distance_map_" + dtype, &distance<Label>);
    define(module, "relabel_" + dtype, &relabelled<Label>);
    define(module, "remove_small_" + dtype, &without_small<Label>);
    define(module, "label_overlap_" + dtype, &overlap<Label>);
}

template <typename Pixel>
void define_gather(py::module_& module, const std::string& dtype) {
    define(module, "gather_tiles_" + dtype + "_float32", &gather<Pixel, float>);
    define(module, "gather_tiles_" + dtype + "_bfloat16", &gather<Pixel, dinocell::cuda::Bfloat16>);
}

template <typename Logit>
void define_sinkhorn(py::module_& module, const std::string& dtype) {
    define(module, "sinkhorn_sample_max_" + dtype, &sample_max<Logit>);
    define(module, "sinkhorn_prototype_mass_" + dtype, &prototype_mass<Logit>);
    define(module, "sinkhorn_sample_mass_" + dtype, &sample_mass<Logit>);
    define(module, "sinkhorn_targets_" + dtype, &targets<Logit>);
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
    namespace cuda = dinocell::cuda;
    module.def("runtime_version", &cuda::runtime_version);
    module.def("driver_version", &cuda::driver_version);
    define_gather<uint8_t>(module, "uint8");
    define_gather<uint16_t>(module, "uint16");
    define_gather<float>(module, "float32");
    define(module, "blend_tiles_float32", &blend<float>);
    define(module, "blend_tiles_bfloat16", &blend<cuda::Bfloat16>);
    define(module, "spread_tiles", &spread);
    module.def("connected_components_scratch", &cuda::connected_components_scratch);
    define(module, "connected_components", &components);
    module.def("relabel_scratch", &cuda::relabel_scratch);
    module.def("label_overlap_scratch", &cuda::label_overlap_scratch);
    define_labels<uint16_t>(module, "uint16");
    define_labels<int32_t>(module, "int32");
    define_labels<int64_t>(module, "int64");
    module.def("watershed_scratch", &cuda::watershed_scratch);
    define(module, "watershed", &flood);
    module.def("sinkhorn_scratch", &cuda::sinkhorn_scratch);
    define_sinkhorn<float>(module, "float32");
    define_sinkhorn<cuda::Bfloat16>(module, "bfloat16");
}
