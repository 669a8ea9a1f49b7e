// The device algorithms of cuda/, run thread by thread on this CPU, for the tests: slow, and never used by the faces.
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "connected_components_kernels.hpp"
#include "distance_map_kernels.hpp"
#include "label_overlap_kernels.hpp"
#include "relabel_kernels.hpp"
#include "sinkhorn_kernels.hpp"
#include "starts.hpp"
#include "watershed_kernels.hpp"

namespace dinocell::bindings {
namespace {

template <typename Pixel>
Array<float> emulated_gather(const Array<Pixel>& image, const Array<int64_t>& ys, const Array<int64_t>& xs, size_t tile,
                             const Array<float>& scale, const Array<float>& offset, float low, float high) {
    const size_t channels = length(image, 0);
    Array<float> out({ys.shape(0), xs.shape(0), image.shape(0), static_cast<py::ssize_t>(tile),
                      static_cast<py::ssize_t>(tile)});
    const device::Gather<Pixel, float> kernel{image.data(),
                                              image.shape(1),
                                              image.shape(2),
                                              static_cast<uint32_t>(channels),
                                              static_cast<uint32_t>(tile),
                                              scale.data(),
                                              offset.data(),
                                              low,
                                              high,
                                              out.mutable_data(),
                                              device::starts_of(ys.data(), length(ys, 0), "ys"),
                                              device::starts_of(xs.data(), length(xs, 0), "xs")};
    device::Emulator{}("tiles", kernel);
    return out;
}

Array<float> emulated_blend(const Array<float>& tiles, const Array<int64_t>& ys, const Array<int64_t>& xs,
                            size_t overlap, int64_t row_begin, int64_t row_end, size_t width) {
    Array<float> out({static_cast<py::ssize_t>(row_end - row_begin), static_cast<py::ssize_t>(width)});
    const device::Blend<float> kernel{tiles.data(),
                                      static_cast<uint32_t>(length(tiles, 2)),
                                      static_cast<uint32_t>(overlap),
                                      row_begin,
                                      static_cast<uint64_t>(row_end - row_begin),
                                      width,
                                      out.mutable_data(),
                                      device::starts_of(ys.data(), length(ys, 0), "ys"),
                                      device::starts_of(xs.data(), length(xs, 0), "xs")};
    device::Emulator{}("tiles", kernel);
    return out;
}

template <typename Label>
Array<float> emulated_distance_map(const Array<Label>& labels, size_t num_labels, bool normalize,
                                   bool border_is_background) {
    const size_t height = length(labels, 0), width = length(labels, 1);
    std::vector<uint16_t> runs(height * width);
    std::vector<uint32_t> squares(height * width), maxima(num_labels + 1);
    Array<float> out({labels.shape(0), labels.shape(1)});
    device::distance_map(labels.data(), height, width, num_labels, border_is_background, out.mutable_data(),
                         runs.data(), squares.data(), normalize ? maxima.data() : nullptr, device::Emulator{});
    return out;
}

Array<int32_t> emulated_components(const Array<uint8_t>& mask, int connectivity, Array<int32_t>& count) {
    const size_t height = length(mask, 0), width = length(mask, 1);
    std::vector<uint32_t> scratch(device::components_scratch(height * width));
    Array<int32_t> out({mask.shape(0), mask.shape(1)});
    device::connected_components(mask.data(), height, width, connectivity, out.mutable_data(), scratch.data(),
                                 count.mutable_data(), device::Emulator{});
    return out;
}

template <typename Label>
Array<int32_t> emulated_relabel(const Array<Label>& labels, size_t num_labels, Array<int32_t>& count) {
    const auto size = static_cast<size_t>(labels.size());
    std::vector<uint32_t> scratch(device::relabel_scratch(size, num_labels));
    Array<int32_t> out(labels.size());
    device::relabel(labels.data(), size, num_labels, out.mutable_data(), scratch.data(), count.mutable_data(),
                    device::Emulator{});
    return out;
}

template <typename Label>
Array<int32_t> emulated_remove_small(const Array<Label>& labels, size_t num_labels, size_t min_size,
                                     Array<int32_t>& count) {
    const auto size = static_cast<size_t>(labels.size());
    std::vector<uint32_t> scratch(device::relabel_scratch(size, num_labels));
    Array<int32_t> out(labels.size());
    device::remove_small(labels.data(), size, num_labels, min_size, out.mutable_data(), scratch.data(),
                         count.mutable_data(), device::Emulator{});
    return out;
}

// Keys and counts of the pairs, unsorted; nothing if the table was too small.
template <typename Label>
std::optional<std::pair<Array<uint64_t>, Array<int64_t>>> emulated_label_overlap(const Array<Label>& truth,
                                                                                 const Array<Label>& predicted,
                                                                                 size_t capacity) {
    std::vector<uint64_t> scratch(device::overlap_scratch(capacity) / 2 + 1), pairs(capacity + 1);
    std::vector<int64_t> counts(capacity + 1);
    int32_t status[2];
    device::label_overlap(truth.data(), predicted.data(), static_cast<size_t>(truth.size()), capacity, pairs.data(),
                          counts.data(), scratch.data(), status, device::Emulator{});
    if (status[1] != 0) return std::nullopt;
    return std::pair{Array<uint64_t>(status[0], pairs.data()), Array<int64_t>(status[0], counts.data())};
}

// Labels with codes for what is left open, and the status.
std::pair<Array<int32_t>, std::array<int32_t, 3>> emulated_watershed(const Array<float>& map, float peak, float fill,
                                                                     float prominence) {
    const size_t height = length(map, 0), width = length(map, 1);
    std::vector<uint64_t> scratch(device::watershed_scratch(height * width, prominence >= 0.0f), ~uint64_t{0} / 3);
    Array<int32_t> out({map.shape(0), map.shape(1)});
    std::array<int32_t, 3> status;
    device::watershed(map.data(), height, width, peak, fill, prominence, out.mutable_data(), scratch.data(),
                      status.data(), device::Emulator{});
    return {out, status};
}

device::Mass<float> mass_of(const Array<float>& logits, float temperature, const float* sample_max) {
    return {logits.data(), length(logits, 0), length(logits, 1), temperature, sample_max};
}

Array<float> emulated_sample_max(const Array<float>& logits, float temperature) {
    Array<float> out(logits.shape(0));
    device::sinkhorn_sample_max(mass_of(logits, temperature, nullptr), out.mutable_data(), device::Emulator{});
    return out;
}

Array<float> emulated_prototype_mass(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                                     const Array<float>& v) {
    Array<float> out(logits.shape(1));
    std::vector<float> scratch(device::sinkhorn_parts(length(logits, 0)) * length(logits, 1));
    device::sinkhorn_prototype_mass(mass_of(logits, temperature, sample_max.data()), v.data(), out.mutable_data(),
                                    scratch.data(), device::Emulator{});
    return out;
}

Array<float> emulated_sample_mass(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                                  const Array<float>& u) {
    Array<float> out(logits.shape(0));
    device::sinkhorn_sample_mass(mass_of(logits, temperature, sample_max.data()), u.data(), out.mutable_data(),
                                 device::Emulator{});
    return out;
}

Array<float> emulated_targets(const Array<float>& logits, float temperature, const Array<float>& sample_max,
                              const Array<float>& u, const Array<float>& v) {
    Array<float> out({logits.shape(0), logits.shape(1)});
    device::sinkhorn_targets(mass_of(logits, temperature, sample_max.data()), u.data(), v.data(), out.mutable_data(),
                             device::Emulator{});
    return out;
}

template <typename Pixel>
void bind_emulated_gather(py::module_& module) {
    module.def("gather_tiles", &emulated_gather<Pixel>, py::arg("image").noconvert(), py::arg("ys").noconvert(),
               py::arg("xs").noconvert(), py::arg("tile"), py::arg("scale").noconvert(), py::arg("offset").noconvert(),
               py::arg("low"), py::arg("high"));
}

template <typename Label>
void bind_emulated_distance_map(py::module_& module) {
    module.def("distance_map", &emulated_distance_map<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("normalize"), py::arg("border_is_background"));
}

template <typename Label>
void bind_emulated_relabel(py::module_& module) {
    module.def("relabel", &emulated_relabel<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("count").noconvert());
    module.def("remove_small", &emulated_remove_small<Label>, py::arg("labels").noconvert(), py::arg("num_labels"),
               py::arg("min_size"), py::arg("count").noconvert());
}

template <typename Label>
void bind_emulated_label_overlap(py::module_& module) {
    module.def("label_overlap", &emulated_label_overlap<Label>, py::arg("truth").noconvert(),
               py::arg("predicted").noconvert(), py::arg("capacity"));
}

}  // namespace

void bind_device_emulation(py::module_& module) {
    py::module_ emulation = module.def_submodule("device_emulation", "Device algorithms on the CPU, for tests.");
    bind_emulated_gather<uint8_t>(emulation);
    bind_emulated_gather<uint16_t>(emulation);
    bind_emulated_gather<float>(emulation);
    emulation.def("blend_tiles", &emulated_blend, py::arg("tiles").noconvert(), py::arg("ys").noconvert(),
                  py::arg("xs").noconvert(), py::arg("overlap"), py::arg("row_begin"), py::arg("row_end"),
                  py::arg("width"));
    emulation.def("connected_components", &emulated_components, py::arg("mask").noconvert(), py::arg("connectivity"),
                  py::arg("count").noconvert());
    emulation.def("watershed", &emulated_watershed, py::arg("map").noconvert(), py::arg("peak"), py::arg("fill"),
                  py::arg("prominence"));
    emulation.def("sinkhorn_sample_max", &emulated_sample_max);
    emulation.def("sinkhorn_prototype_mass", &emulated_prototype_mass);
    emulation.def("sinkhorn_sample_mass", &emulated_sample_mass);
    emulation.def("sinkhorn_targets", &emulated_targets);
    bind_emulated_relabel<uint16_t>(emulation);
    bind_emulated_relabel<int32_t>(emulation);
    bind_emulated_relabel<int64_t>(emulation);
    bind_emulated_label_overlap<uint16_t>(emulation);
    bind_emulated_label_overlap<int32_t>(emulation);
    bind_emulated_label_overlap<int64_t>(emulation);
    bind_emulated_distance_map<uint16_t>(emulation);
    bind_emulated_distance_map<int32_t>(emulation);
    bind_emulated_distance_map<int64_t>(emulation);
}

}  // namespace dinocell::bindings
