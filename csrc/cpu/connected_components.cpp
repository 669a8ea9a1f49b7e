#include "dinocell/connected_components.hpp"

#include "mask_components.hpp"
#include "parallel.hpp"
#include "simd.hpp"

#define DINOCELL_PER_ISA "connected_components.inl"
#include "per_isa.hpp"

namespace dinocell {
namespace {

size_t mask_edges(const uint8_t* row, size_t width, uint64_t* bits, uint32_t* edges) {
    DINOCELL_DISPATCH(mask_edges(row, width, bits, edges))
}

void write_rows(const MaskComponents& components, size_t begin, size_t end, size_t width, int32_t* out) {
    DINOCELL_DISPATCH(write_rows(components, begin, end, width, out))
}

}  // namespace

size_t connected_components(const uint8_t* mask, size_t height, size_t width, int connectivity, int32_t* out,
                            size_t num_threads) {
    if (width >= std::numeric_limits<uint32_t>::max()) throw std::overflow_error("image is wider than 2^32 pixels");
    num_threads = resolve_threads(num_threads, height * width);
    const Bands bands(height, num_threads);
    MaskComponents components(connectivity, bands);
    parallel_for(bands.count(), num_threads, [&](size_t band) {
        std::vector<uint64_t> bits(width / 64 + 1);
        std::vector<uint32_t> edges(width + 2);
        for (size_t y = bands.begin(band); y < bands.end(band); ++y)
            components.band(band).add_row(edges.data(), mask_edges(mask + y * width, width, bits.data(), edges.data()));
        components.band(band).number();
    });
    const size_t count = components.number(num_threads);
    parallel_for(bands.count(), num_threads,
                 [&](size_t band) { write_rows(components, bands.begin(band), bands.end(band), width, out); });
    return count;
}

}  // namespace dinocell
