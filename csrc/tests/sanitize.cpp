// Runs every kernel on random images of awkward sizes, on every instruction set, with one thread and with several, and
// compares the results. tools/sanitize.sh builds it with AddressSanitizer and UndefinedBehaviorSanitizer, and once more
// with ThreadSanitizer. Results go to exactly sized buffers, so that one value too many is found.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "dinocell/connected_components.hpp"
#include "dinocell/distance_map.hpp"
#include "dinocell/label_overlap.hpp"
#include "dinocell/prominent_maxima.hpp"
#include "dinocell/relabel.hpp"
#include "dinocell/tiles.hpp"
#include "dinocell/watershed.hpp"
#include "isa.hpp"

namespace {

using namespace dinocell;

std::mt19937 generator(1);
size_t number(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(generator); }

struct Image {
    size_t height, width;
    std::vector<int32_t> labels, moved;
    std::vector<uint8_t> mask;
    std::vector<float> map;
};

Image random_image(size_t height, size_t width) {
    Image image{height, width, {}, {}, {}, {}};
    const size_t block = number(1, 20), levels = number(3, 2000);
    const double a = 0.05 + 0.01 * static_cast<double>(number(0, 20)), b = 0.07 + 0.01 * static_cast<double>(number(0, 20));
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x) {
            const size_t cell = (y / block * 7919 + x / (block + 2) * 104729) % 11;
            image.labels.push_back(static_cast<int32_t>(cell < 6 ? cell : 0));
            image.moved.push_back(static_cast<int32_t>((x + 2) / block % 5));
            image.mask.push_back(static_cast<uint8_t>(number(0, 2) != 0));
            const double wave = std::sin(a * static_cast<double>(y)) * std::cos(b * static_cast<double>(x));
            const double noise = static_cast<double>(number(0, 100)) / 1000;
            image.map.push_back(static_cast<float>(
                std::round((0.5 + 0.45 * wave + noise) * static_cast<double>(levels)) / static_cast<double>(levels)));
        }
    return image;
}

// Everything computed, as bytes.
std::string results(const Image& image, size_t threads) {
    std::string all;
    const size_t height = image.height, width = image.width, size = height * width;
    const auto keep = [&](const auto& values) {
        all.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
    };
    std::vector<float> distances(size);
    for (const bool border : {false, true}) {
        distance_map(image.labels.data(), height, width, distances.data(), border, border, threads);
        keep(distances);
    }
    std::vector<int32_t> labels(size);
    for (const int connectivity : {1, 2}) {
        connected_components(image.mask.data(), height, width, connectivity, labels.data(), threads);
        keep(labels);
        std::vector<int32_t> seeds(size);
        for (size_t i = 0; i < size; i += 17) seeds[i] = static_cast<int32_t>(i);
        marker_watershed(image.map.data(), height, width, seeds.data(), image.mask.data(), connectivity,
                         threads);
        keep(seeds);
        const std::vector<double> wide(image.map.begin(), image.map.end());
        heap_watershed(wide.data(), height, width, seeds.data(), image.mask.data(), connectivity);
        keep(seeds);
    }
    for (const double fill : {0.2, -1.0}) {
        const std::vector<double> wide(image.map.begin(), image.map.end());
        for (const double prominence : {-1.0, 0.0, 0.1}) {
            watershed(image.map.data(), height, width, 0.75, fill, prominence, labels.data(), threads);
            keep(labels);
            watershed(wide.data(), height, width, 0.75, fill, prominence, labels.data(), threads);
            keep(labels);
        }
    }
    prominent_maxima(image.map.data(), height, width, 0.5, 0.2, 0.1, labels.data());
    keep(labels);
    relabel(image.labels.data(), size, labels.data(), threads);
    keep(labels);
    remove_small(image.labels.data(), size, 20, labels.data(), threads);
    keep(labels);
    keep(label_overlap(image.labels.data(), image.moved.data(), size, threads));

    const size_t tile = 23;
    const std::vector<int64_t> ys{-4, 10, static_cast<int64_t>(height) - 5}, xs{-7, 3, static_cast<int64_t>(width) - 11};
    const float scale = 0.02f, offset = -1;
    std::vector<float> tiles(9 * tile * tile);
    gather_tiles(image.mask.data(), 1, height, width, ys.data(), 3, xs.data(), 3, tile, &scale, &offset, -2.f, 2.f,
                 tiles.data(), threads);
    keep(tiles);
    std::vector<uint16_t> rounded(tiles.size());
    gather_tiles(image.map.data(), 1, height, width, ys.data(), 3, xs.data(), 3, tile, &scale, &offset, -2.f, 2.f,
                 rounded.data(), threads);
    keep(rounded);
    const std::vector<int64_t> starts{-2, 12, 30};
    std::vector<float> blended(50 * 51);
    blend_tiles(tiles.data(), 3, 3, tile, starts.data(), starts.data(), 9, 0, 50, 51, blended.data(), threads);
    keep(blended);
    return all;
}

}  // namespace

int main() {
    const size_t sizes[][2] = {{1, 1}, {1, 300}, {70, 1}, {13, 64}, {64, 65}, {130, 127}, {200, 260}};
    for (const auto& [height, width] : sizes)
        for (int repeat = 0; repeat < 4; ++repeat) {
            const Image image = random_image(height, width);
            std::string expected;
            for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
                if (!isa_available(isa)) continue;
                use_isa(isa_name(isa));
                for (const size_t threads : {1, 3}) {
                    const std::string found = results(image, threads);
                    if (expected.empty()) expected = found;
                    if (found == expected) continue;
                    std::fprintf(stderr, "%zu x %zu: %s with %zu threads differs\n", height, width, isa_name(isa), threads);
                    return EXIT_FAILURE;
                }
            }
        }
    // A result large enough to be written past the caches, at an address that is a multiple of 16 bytes or not.
    const std::vector<uint8_t> pixels(400 * 400, 7);
    const std::vector<int64_t> starts{0, 100, 200};
    const float scale = 1, offset = 0;
    for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
        if (!isa_available(isa)) continue;
        use_isa(isa_name(isa));
        for (const size_t tile : {size_t{1023}, size_t{1020}})  // 36 MiB in all
            for (const size_t shift : {0, 1}) {
                std::vector<float> tiles(9 * tile * tile + shift);
                gather_tiles(pixels.data(), 1, 400, 400, starts.data(), 3, starts.data(), 3, tile, &scale, &offset, 0.f,
                             9.f, tiles.data() + shift, 2);
                for (size_t i = shift; i < tiles.size(); ++i)
                    if (tiles[i] != 7) return EXIT_FAILURE;
            }
    }
    std::puts("clean");
    return EXIT_SUCCESS;
}
