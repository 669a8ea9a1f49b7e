// The device algorithms of cuda/, run thread by thread on this CPU, for the tests: slow, and never used by the faces.
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "batch.hpp"
#include "bindings.hpp"
#include "connected_components_kernels.hpp"
#include "distance_map_kernels.hpp"
#include "emulate.hpp"
#include "label_overlap_kernels.hpp"
#include "relabel_kernels.hpp"
#include "sinkhorn_kernels.hpp"
#include "starts.hpp"
#include "watershed_kernels.hpp"

namespace dinocell::bindings {
namespace {

using device::Emulator;

// As device memory that nothing was written to.
template <typename T>
std::vector<T> unwritten(size_t size) {
    std::vector<T> memory(size);
    std::memset(static_cast<void*>(memory.data()), 0xa5, size * sizeof(T));
    return memory;
}

template <typename T>
Array<T> unwritten_array(const std::vector<py::ssize_t>& shape) {
    Array<T> memory(shape);
    std::memset(static_cast<void*>(memory.mutable_data()), 0xa5, static_cast<size_t>(memory.nbytes()));
    return memory;
}

// The shape of an array without its last axes, followed by others.
template <typename T>
std::vector<py::ssize_t> shape_of(const Array<T>& array, py::ssize_t without = 0, std::vector<size_t> then = {}) {
    std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim() - without);
    for (const size_t n : then) shape.push_back(static_cast<py::ssize_t>(n));
    return shape;
}

// How many images an array holds whose last axes are one.
template <typename T>
size_t images_of(const Array<T>& array, py::ssize_t axes) {
    size_t images = 1;
    for (py::ssize_t axis = 0; axis < array.ndim() - axes; ++axis) images *= length(array, axis);
    return images;
}

template <typename T>
device::Batch batch_of(const Array<T>& array) {
    return device::batch_of(images_of(array, 2), length(array, array.ndim() - 2), length(array, array.ndim() - 1));
}

template <typename Pixel>
Array<float> emulated_gather(const Array<Pixel>& image, const Array<int64_t>& ys, const Array<int64_t>& xs, size_t tile,
                             const Array<float>& scale, const Array<float>& offset, float low, float high,
                             uint32_t order) {
    const py::ssize_t axes = image.ndim();
    const size_t channels = length(image, axes - 3);
    auto out = unwritten_array<float>(shape_of(image, 3, {length(ys, 0), length(xs, 0), channels, tile, tile}));
    const device::Gather<Pixel, float> kernel{image.data(),
                                              images_of(image, 3),
                                              image.shape(axes - 2),
                                              image.shape(axes - 1),
                                              static_cast<uint32_t>(channels),
                                              static_cast<uint32_t>(tile),
                                              scale.data(),
                                              offset.data(),
                                              low,
                                              high,
                                              out.mutable_data(),
                                              device::starts_of(ys.data(), length(ys, 0), "ys"),
                                              device::starts_of(xs.data(), length(xs, 0), "xs")};
    Emulator{order}("gather_tiles", kernel);
    return out;
}

Array<float> emulated_blend(const Array<float>& tiles, const Array<int64_t>& ys, const Array<int64_t>& xs,
                            size_t overlap, int64_t row_begin, int64_t row_end, size_t width, uint32_t order) {
    auto out = unwritten_array<float>(shape_of(tiles, 4, {static_cast<size_t>(row_end - row_begin), width}));
    const device::Blend<float> kernel{tiles.data(),
                                      images_of(tiles, 4),
                                      static_cast<uint32_t>(length(tiles, tiles.ndim() - 1)),
                                      static_cast<uint32_t>(overlap),
                                      row_begin,
                                      static_cast<uint64_t>(row_end - row_begin),
                                      width,
                                      out.mutable_data(),
                                      device::starts_of(ys.data(), length(ys, 0), "ys"),
                                      device::starts_of(xs.data(), length(xs, 0), "xs")};
    Emulator{order}("blend_tiles", kernel);
    return out;
}

Array<float> emulated_spread(const Array<float>& image, const Array<int64_t>& ys, const Array<int64_t>& xs, size_t tile,
                             size_t overlap, int64_t row_begin, int64_t row_end, int64_t width, uint32_t order) {
    auto out = unwritten_array<float>(shape_of(image, 2, {length(ys, 0), length(xs, 0), tile, tile}));
    const device::Spread kernel{image.data(),
                                images_of(image, 2),
                                static_cast<uint32_t>(tile),
                                static_cast<uint32_t>(overlap),
                                row_begin,
                                row_end,
                                width,
                                out.mutable_data(),
                                device::starts_of(ys.data(), length(ys, 0), "ys"),
                                device::starts_of(xs.data(), length(xs, 0), "xs")};
    Emulator{order}("spread_tiles", kernel);
    return out;
}

template <typename Label>
Array<float> emulated_distance_map(const Array<Label>& labels, size_t num_labels, bool normalize,
                                   bool border_is_background, uint32_t order) {
    const device::Batch batch = batch_of(labels);
    auto runs = unwritten<uint16_t>(batch.pixels());
    auto squares = unwritten<uint32_t>(batch.pixels()), maxima = unwritten<uint32_t>(batch.images * (num_labels + 1));
    auto out = unwritten_array<float>(shape_of(labels));
    device::distance_map(labels.data(), batch.images, batch.height, batch.width, num_labels, border_is_background,
                         out.mutable_data(), runs.data(), squares.data(), normalize ? maxima.data() : nullptr,
                         Emulator{order});
    return out;
}

// Labels and, by image, how many.
using Counted = std::pair<Array<int32_t>, Array<int32_t>>;

Counted emulated_components(const Array<uint8_t>& mask, int connectivity, uint32_t order) {
    const device::Batch batch = batch_of(mask);
    auto scratch = unwritten<uint32_t>(device::components_scratch(batch));
    Counted result{unwritten_array<int32_t>(shape_of(mask)), unwritten_array<int32_t>(shape_of(mask, 2))};
    device::connected_components(mask.data(), batch, connectivity, result.first.mutable_data(), scratch.data(),
                                 result.second.mutable_data(), Emulator{order});
    return result;
}

template <typename Label>
device::Listed<Label> listed(const Array<Label>& labels, size_t num_labels) {
    const device::Batch batch = batch_of(labels);
    return {labels.data(), batch.images, batch.height * batch.width, num_labels};
}

template <typename Label>
Counted emulated_relabel(const Array<Label>& labels, size_t num_labels, uint32_t order) {
    const auto images = listed(labels, num_labels);
    auto scratch = unwritten<uint32_t>(device::relabel_scratch(images.images, images.pixels_each, num_labels));
    Counted result{unwritten_array<int32_t>(shape_of(labels)), unwritten_array<int32_t>(shape_of(labels, 2))};
    device::relabel(images, result.first.mutable_data(), scratch.data(), result.second.mutable_data(), Emulator{order});
    return result;
}

template <typename Label>
Counted emulated_remove_small(const Array<Label>& labels, size_t num_labels, size_t min_size, uint32_t order) {
    const auto images = listed(labels, num_labels);
    auto scratch = unwritten<uint32_t>(device::relabel_scratch(images.images, images.pixels_each, num_labels));
    Counted result{unwritten_array<int32_t>(shape_of(labels)), unwritten_array<int32_t>(shape_of(labels, 2))};
    device::remove_small(images, min_size, result.first.mutable_data(), scratch.data(), result.second.mutable_data(),
                         Emulator{order});
    return result;
}

// Keys and counts of the pairs, unsorted; nothing if the table was too small.
template <typename Label>
std::optional<std::pair<Array<uint64_t>, Array<int64_t>>> emulated_label_overlap(const Array<Label>& truth,
                                                                                 const Array<Label>& predicted,
                                                                                 size_t capacity, uint32_t order) {
    auto scratch = unwritten<uint64_t>(device::overlap_scratch(capacity) / 2 + 1);
    auto pairs = unwritten<uint64_t>(capacity + 1);
    auto counts = unwritten<int64_t>(capacity + 1);
    int32_t status[2];
    device::label_overlap(truth.data(), predicted.data(), static_cast<size_t>(truth.size()), capacity, pairs.data(),
                          counts.data(), scratch.data(), status, Emulator{order});
    if (status[1] != 0) return std::nullopt;
    return std::pair{Array<uint64_t>(status[0], pairs.data()), Array<int64_t>(status[0], counts.data())};
}

// Labels with codes for what is left open, and the status: by image, three numbers.
Counted emulated_watershed(const Array<float>& map, float peak, float fill, float prominence, uint32_t order) {
    const device::Batch batch = batch_of(map);
    auto scratch = unwritten<uint64_t>(device::watershed_scratch(batch, prominence >= 0.0f));
    std::vector<py::ssize_t> status_shape = shape_of(map, 2);
    status_shape.insert(status_shape.begin(), 3);
    Counted result{unwritten_array<int32_t>(shape_of(map)), unwritten_array<int32_t>(status_shape)};
    device::watershed(map.data(), batch, peak, fill, prominence, result.first.mutable_data(), scratch.data(),
                      result.second.mutable_data(), Emulator{order});
    return result;
}

device::Mass<float> mass_of(const Array<float>& logits, float temperature, const float* sample_max) {
    return {logits.data(), length(logits, 0), length(logits, 1), temperature, sample_max};
}

Array<float> emulated_sample_max(const Array<float>& logits, float temperature, uint32_t order) {
    auto out = unwritten_array<float>({logits.shape(0)});
    device::sinkhorn_sample_max(mass_of(logits, temperature, nullptr), out.mutable_data(), Emulator{order});
    return out;
}

Array<float> emulated_prototype_mass(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                                     const Array<float>& v, uint32_t order) {
    auto out = unwritten_array<float>({logits.shape(1)});
    auto scratch = unwritten<float>(device::sinkhorn_parts(length(logits, 0)) * length(logits, 1));
    device::sinkhorn_prototype_mass(mass_of(logits, temperature, sample_max.data()), v.data(), out.mutable_data(),
                                    scratch.data(), Emulator{order});
    return out;
}

Array<float> emulated_sample_mass(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                                  const Array<float>& u, uint32_t order) {
    auto out = unwritten_array<float>({logits.shape(0)});
    device::sinkhorn_sample_mass(mass_of(logits, temperature, sample_max.data()), u.data(), out.mutable_data(),
                                 Emulator{order});
    return out;
}

Array<float> emulated_targets(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                              const Array<float>& u, const Array<float>& v, uint32_t order) {
    auto out = unwritten_array<float>(shape_of(logits));
    device::sinkhorn_targets(mass_of(logits, temperature, sample_max.data()), u.data(), v.data(), out.mutable_data(),
                             Emulator{order});
    return out;
}

py::arg_v order() { return py::arg("order") = 0; }

template <typename Pixel>
void bind_emulated_gather(py::module_& module) {
    module.def("gather_tiles", &emulated_gather<Pixel>, py::arg("image").noconvert(), py::arg("ys").noconvert(),
               py::arg("xs").noconvert(), py::arg("tile"), py::arg("scale").noconvert(), py::arg("offset").noconvert(),
               py::arg("low"), py::arg("high"), order());
}

template <typename Label>
void bind_emulated_labels(py::module_& module) {
    module.def("distance_map", &emulated_distance_map<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("normalize"), py::arg("border_is_background"), order());
    module.def("relabel", &emulated_relabel<Label>, py::arg("labels").noconvert(), py::arg("num_labels"), order());
    module.def("remove_small", &emulated_remove_small<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("min_size"), order());
    module.def("label_overlap", &emulated_label_overlap<Label>, py::arg("truth").noconvert(),
               py::arg("predicted").noconvert(), py::arg("capacity"), order());
}

}  // namespace

void bind_device_emulation(py::module_& module) {
    py::module_ emulation = module.def_submodule("device_emulation", "Device algorithms on the CPU, for tests.");
    bind_emulated_gather<uint8_t>(emulation);
    bind_emulated_gather<uint16_t>(emulation);
    bind_emulated_gather<float>(emulation);
    bind_emulated_labels<uint16_t>(emulation);
    bind_emulated_labels<int32_t>(emulation);
    bind_emulated_labels<int64_t>(emulation);
    emulation.def("require_distances_fit", &device::require_distances_fit);
    emulation.def("require_pixels_fit", &device::require_pixels_fit);
    emulation.def("blend_tiles", &emulated_blend, py::arg("tiles").noconvert(), py::arg("ys").noconvert(),
                  py::arg("xs").noconvert(), py::arg("overlap"), py::arg("row_begin"), py::arg("row_end"),
                  py::arg("width"), order());
    emulation.def("spread_tiles", &emulated_spread, py::arg("image").noconvert(), py::arg("ys").noconvert(),
                  py::arg("xs").noconvert(), py::arg("tile"), py::arg("overlap"), py::arg("row_begin"),
                  py::arg("row_end"), py::arg("width"), order());
    emulation.def("connected_components", &emulated_components, py::arg("mask").noconvert(), py::arg("connectivity"),
                  order());
    emulation.def("watershed", &emulated_watershed, py::arg("map").noconvert(), py::arg("peak"), py::arg("fill"),
                  py::arg("prominence"), order());
    emulation.def("sinkhorn_sample_max", &emulated_sample_max, py::arg("logits").noconvert(), py::arg("temperature"),
                  order());
    emulation.def("sinkhorn_prototype_mass", &emulated_prototype_mass, py::arg("logits").noconvert(),
                  py::arg("temperature"), py::arg("sample_max").noconvert(), py::arg("v").noconvert(), order());
    emulation.def("sinkhorn_sample_mass", &emulated_sample_mass, py::arg("logits").noconvert(), py::arg("temperature"),
                  py::arg("sample_max").noconvert(), py::arg("u").noconvert(), order());
    emulation.def("sinkhorn_targets", &emulated_targets, py::arg("logits").noconvert(), py::arg("temperature"),
                  py::arg("sample_max").noconvert(), py::arg("u").noconvert(), py::arg("v").noconvert(), order());
}

}  // namespace dinocell::bindings
