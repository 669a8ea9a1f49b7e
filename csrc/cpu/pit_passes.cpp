#include "pit_passes.hpp"

#include <algorithm>

#include "simd.hpp"

#define DINOCELL_PER_ISA "pit_passes.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

template <typename... Arguments>
bool any_above(Arguments&&... arguments) {
    DINOCELL_DISPATCH(any_above(arguments...))
}
template <typename... Arguments>
void add_passes(Arguments&&... arguments) {
    DINOCELL_DISPATCH(add_passes(arguments...))
}

}  // namespace

template <typename Value>
std::vector<uint8_t> find_pit_rows(const WatershedImage<Value>& image, size_t num_markers) {
    std::vector<uint8_t> rows(image.height, 0);
    for_each_open_row(image, [&](size_t y) {
        rows[y] = any_above(image.labels + y * image.width, image.width, static_cast<int32_t>(num_markers));
    });
    return rows;
}

template <typename Value>
std::vector<Pass<Value>> find_passes(const WatershedImage<Value>& image, size_t num_markers,
                                     const std::vector<uint8_t>& pit_rows) {
    const auto last_marker = static_cast<int32_t>(num_markers);
    std::vector<Passes<Value>> found(image.bands.count());
    parallel_for(image.bands.count(), image.num_threads, [&](size_t band) {
        for (size_t y = image.bands.begin(band); y < image.bands.end(band); ++y) {
            const size_t width = image.width;
            DINOCELL_CHECK(std::all_of(image.labels + y * width, image.labels + (y + 1) * width,
                                       [](int32_t basin) { return basin >= 0; }));
            const auto add_row = [&](size_t step, size_t count) {
                add_passes(image.labels + y * width, image.map + y * width, step, count, last_marker, found[band]);
            };
            if (pit_rows[y]) add_row(1, width - 1);
            if (y + 1 < image.height && (pit_rows[y] || pit_rows[y + 1])) add_row(width, width);
        }
    });
    Passes<Value>& whole = found[0];
    for (size_t band = 1; band < found.size(); ++band)
        for (const Pass<Value>& pass : found[band].all()) whole.add(pass.a, pass.b, pass.value);
    std::vector<Pass<Value>> passes = whole.all();
    std::stable_sort(passes.begin(), passes.end(), [](const auto& a, const auto& b) { return a.value > b.value; });
    return passes;
}

template std::vector<uint8_t> find_pit_rows(const WatershedImage<float>&, size_t);
template std::vector<uint8_t> find_pit_rows(const WatershedImage<double>&, size_t);
template std::vector<Pass<float>> find_passes(const WatershedImage<float>&, size_t, const std::vector<uint8_t>&);
template std::vector<Pass<double>> find_passes(const WatershedImage<double>&, size_t, const std::vector<uint8_t>&);

}  // namespace dinocell
