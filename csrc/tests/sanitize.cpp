// Runs every kernel on random images of awkward sizes, on every instruction set, with 1 to 8 threads, and compares the
// results. tools/sanitize.sh builds it with the sanitizers. Results go to exactly sized buffers, so that one value too
// many is found, which hold another pattern each time, so that none is taken for zero.
// usage: sanitize [large] [undefined]
//   large: images of several strips and bands (a checked build has them in small images)
//   undefined: results begin as they are allocated, for valgrind to follow
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
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
    const double a = 0.05 + 0.01 * static_cast<double>(number(0, 20)),
                 b = 0.07 + 0.01 * static_cast<double>(number(0, 20));
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

bool leave_undefined = false;

// Memory for a result, as a caller may hand it over.
template <typename T>
class Buffer {
  public:
    explicit Buffer(size_t size) : size_(size), values_(new T[size]) { spoil(); }
    T* data() { return values_.get(); }
    size_t size() const { return size_; }
    T& operator[](size_t i) { return values_[i]; }
    // Fills it with another pattern than the last time.
    void spoil() {
        static std::mt19937 patterns(7);
        if (leave_undefined) return;
        const uint32_t pattern = patterns() % 3 == 0 ? 0xffffffffu : patterns();
        for (size_t i = 0; i < size_; ++i) std::memcpy(&values_[i], &pattern, std::min(sizeof(T), sizeof(pattern)));
    }

  private:
    size_t size_;
    std::unique_ptr<T[]> values_;
};

// Everything computed, as bytes.
std::string results(const Image& image, size_t threads) {
    std::string all;
    const size_t height = image.height, width = image.width, size = height * width;
    const auto keep = [&](auto&& values) {
        all.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
        if constexpr (requires { values.spoil(); }) values.spoil();
    };
    Buffer<float> distances(size);
    for (const bool border : {false, true}) {
        distance_map(image.labels.data(), height, width, distances.data(), border, border, threads);
        keep(distances);
    }
    Buffer<int32_t> labels(size);
    for (const int connectivity : {1, 2}) {
        connected_components(image.mask.data(), height, width, connectivity, labels.data(), threads);
        keep(labels);
        std::vector<int32_t> seeds(size);
        for (size_t i = 0; i < size; i += 17) seeds[i] = static_cast<int32_t>(i);
        marker_watershed(image.map.data(), height, width, seeds.data(), image.mask.data(), connectivity, threads);
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
    const std::vector<int64_t> ys{-4, 10, static_cast<int64_t>(height) - 5},
        xs{-7, 3, static_cast<int64_t>(width) - 11};
    const float scale = 0.02f, offset = -1;
    Buffer<float> tiles(9 * tile * tile);
    gather_tiles(image.mask.data(), 1, height, width, ys.data(), 3, xs.data(), 3, tile, &scale, &offset, -2.f, 2.f,
                 tiles.data(), threads);
    const std::vector<float> pixels(tiles.data(), tiles.data() + tiles.size());
    keep(tiles);
    Buffer<uint16_t> rounded(tiles.size());
    gather_tiles(image.map.data(), 1, height, width, ys.data(), 3, xs.data(), 3, tile, &scale, &offset, -2.f, 2.f,
                 rounded.data(), threads);
    keep(rounded);
    const std::vector<int64_t> starts{-2, 12, 30};
    Buffer<float> blended(50 * 51);
    blend_tiles(pixels.data(), 3, 3, tile, starts.data(), starts.data(), 9, 0, 50, 51, blended.data(), threads);
    keep(blended);
    return all;
}

// Whether every instruction set gives the same results with one thread and with each number of `threads`.
template <typename Results>
bool agree(const Image& image, const std::vector<size_t>& threads, const Results& results_of) {
    std::string expected;
    for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
        if (!isa_available(isa)) continue;
        use_isa(isa_name(isa));
        for (const size_t count : threads) {
            const std::string found = results_of(image, count);
            if (expected.empty()) expected = found;
            if (found == expected) continue;
            std::fprintf(stderr, "%zu x %zu: %s with %zu threads differs\n", image.height, image.width, isa_name(isa),
                         count);
            return false;
        }
    }
    return true;
}

// Watersheds and label arithmetic only, which large images take long enough for.
std::string large_results(const Image& image, size_t threads) {
    std::string all;
    Buffer<int32_t> labels(image.map.size());
    const auto keep = [&] {
        all.append(reinterpret_cast<const char*>(labels.data()), labels.size() * sizeof(int32_t));
        labels.spoil();
    };
    for (const double prominence : {-1.0, 0.1}) {
        watershed(image.map.data(), image.height, image.width, 0.75, 0.2, prominence, labels.data(), threads);
        keep();
    }
    connected_components(image.mask.data(), image.height, image.width, 1, labels.data(), threads);
    keep();
    remove_small(image.labels.data(), image.map.size(), 20, labels.data(), threads);
    keep();
    Buffer<float> distances(image.map.size());
    distance_map(image.labels.data(), image.height, image.width, distances.data(), true, false, threads);
    all.append(reinterpret_cast<const char*>(distances.data()), distances.size() * sizeof(float));
    return all;
}

// Ramps as high as the image, so that ways lead through all strips.
Image ramps(size_t height, size_t width) {
    Image image = random_image(height, width);
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x)
            image.map[y * width + x] = 0.9f - 0.6f * static_cast<float>(y) / static_cast<float>(height) -
                                       static_cast<float>((x * 2654435761u) % 1024) / 50000;
    return image;
}

}  // namespace

int main(int argc, char** argv) {
    bool large = false;
    for (int i = 1; i < argc; ++i) {
        large |= argv[i] == std::string("large");
        leave_undefined |= argv[i] == std::string("undefined");
    }
    if (large) {
        for (const Image& image : {random_image(700, 1100), ramps(1100, 700)})
            if (!agree(image, {1, 2, 8}, large_results)) return EXIT_FAILURE;
        std::puts("clean");
        return EXIT_SUCCESS;
    }
    const size_t sizes[][2] = {{1, 1}, {1, 300}, {70, 1}, {13, 64}, {64, 65}, {130, 127}, {200, 260}};
    size_t threads = 2;
    for (const auto& [height, width] : sizes)
        for (int repeat = 0; repeat < 4; ++repeat) {
            const Image image = repeat == 3 ? ramps(height, width) : random_image(height, width);
            if (!agree(image, {1, threads}, results)) return EXIT_FAILURE;
            threads = threads == 8 ? 2 : threads + 1;
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
