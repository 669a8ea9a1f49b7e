// Runs every device kernel on real threads, two blocks at a time with two threads each, and compares with one thread.
//
//     g++ -std=c++20 -O1 -g -fsanitize=thread -Iinclude -Icuda tests/device_emulation_races.cpp -o /tmp/races -pthread
//     /tmp/races
//
// ThreadSanitizer then finds each word in which threads of a grid meet without words.hpp, between barriers in a block
// and anywhere between blocks, whether or not it shows in a result. Takes a minute.
#include <array>
#include <barrier>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "batch.hpp"
#include "connected_components_kernels.hpp"
#include "distance_map_kernels.hpp"
#include "emulate.hpp"
#include "label_overlap_kernels.hpp"
#include "relabel_kernels.hpp"
#include "sinkhorn_kernels.hpp"
#include "starts.hpp"
#include "watershed_kernels.hpp"

namespace {

using namespace dinocell::device;

constexpr uint32_t kBlocksAtOnce = 2, kThreads = 2;

template <int Phase, typename Kernel>
void run_phases(const Kernel& kernel, const Size3& block, typename Kernel::Shared& shared,
                std::vector<typename Kernel::Local>& locals, uint32_t thread, std::barrier<>& barrier) {
    if constexpr (Phase < Kernel::kPhases) {
        constexpr Size3 size = Kernel::kBlock;
        for (uint32_t n = thread; n < block_size<Kernel>(); n += kThreads)
            run_phase<Phase>(kernel, {block, {n % size.x, n / size.x % size.y, n / size.x / size.y}}, shared,
                             locals[n]);
        barrier.arrive_and_wait();
        run_phases<Phase + 1>(kernel, block, shared, locals, thread, barrier);
    }
}

// One of the blocks at once, and then every kBlocksAtOnce-th after it.
template <typename Kernel>
struct Worker {
    typename Kernel::Shared shared;
    std::vector<typename Kernel::Local> locals{block_size<Kernel>()};
    std::barrier<> barrier{kThreads};

    void run(const Kernel& kernel, const Grid& grid, uint64_t first, uint32_t thread) {
        for (uint64_t number = first; number < grid.x * grid.y * grid.z; number += kBlocksAtOnce) {
            const Size3 block{static_cast<uint32_t>(number % grid.x), static_cast<uint32_t>(number / grid.x % grid.y),
                              static_cast<uint32_t>(number / grid.x / grid.y)};
            bool again = true;
            while (again) {
                run_phases<0>(kernel, block, shared, locals, thread, barrier);
                again = false;
                if constexpr (Repeats<Kernel>) again = kernel.again(shared);
                barrier.arrive_and_wait();
            }
        }
    }
};

struct Racer {
    template <typename Kernel>
    void operator()(const char*, const Kernel& kernel) const {
        const Grid grid = kernel.grid();
        std::unique_ptr<Worker<Kernel>> workers[kBlocksAtOnce];
        std::vector<std::thread> threads;
        for (uint32_t block = 0; block < kBlocksAtOnce; ++block) {
            workers[block] = std::make_unique<Worker<Kernel>>();
            for (uint32_t t = 0; t < kThreads; ++t)
                threads.emplace_back([&, block, t] { workers[block]->run(kernel, grid, block, t); });
        }
        for (std::thread& thread : threads) thread.join();
    }
    void fill(void* memory, int byte, size_t size) const {
        if (size != 0) std::memset(memory, byte, size);
    }
};

std::mt19937 generator(1);
float uniform() { return std::uniform_real_distribution<float>(0, 1)(generator); }

struct Images {
    Batch batch;
    std::vector<int32_t> labels, moved;
    std::vector<uint8_t> mask;
    std::vector<float> map;
};

Images random_images(uint32_t count, uint32_t height, uint32_t width, uint32_t levels) {
    Images images{{count, height, width}, {}, {}, {}, {}};
    for (uint64_t p = 0; p < images.batch.pixels(); ++p) {
        const auto y = static_cast<uint32_t>(p / width), x = static_cast<uint32_t>(p % width);
        images.labels.push_back(static_cast<int32_t>((y / 5 * 7 + x / 6 * 3) % 11));
        images.moved.push_back(static_cast<int32_t>((y / 7 + x / 4) % 8));
        images.mask.push_back(uniform() < 0.6f);
        const float down = std::sin(0.3f * static_cast<float>(y)), across = std::cos(0.2f * static_cast<float>(x));
        const float wave = 0.5f + 0.3f * down * across;
        images.map.push_back(std::round((wave + 0.2f * uniform()) * static_cast<float>(levels)) /
                             static_cast<float>(levels));
    }
    return images;
}

using Bytes = std::vector<unsigned char>;

template <typename T>
void keep(Bytes& all, const std::vector<T>& values) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    all.insert(all.end(), bytes, bytes + values.size() * sizeof(T));
}

template <typename Run>
Bytes results(const Images& images, const Run& run) {
    Bytes all;
    const Batch& b = images.batch;
    const uint64_t pixels = b.pixels();
    std::vector<int32_t> labels(pixels), counts(b.images), status(3 * b.images);
    std::vector<float> distances(pixels);
    std::vector<uint16_t> runs(pixels);
    std::vector<uint32_t> squares(pixels), maxima(12 * b.images);
    distance_map(images.labels.data(), b.images, b.height, b.width, 11, false, distances.data(), runs.data(),
                 squares.data(), maxima.data(), run);
    keep(all, distances);
    std::vector<uint32_t> words(std::max(components_scratch(b), relabel_scratch(b.images, b.pixels_each(), 11)));
    for (const int connectivity : {1, 2}) {
        connected_components(images.mask.data(), b, connectivity, labels.data(), words.data(), counts.data(), run);
        keep(all, labels);
        keep(all, counts);
    }
    const Listed<int32_t> listed{images.labels.data(), b.images, static_cast<uint32_t>(b.pixels_each()), 11};
    relabel(listed, labels.data(), words.data(), counts.data(), run);
    keep(all, labels);
    remove_small(listed, 30, labels.data(), words.data(), counts.data(), run);
    keep(all, labels);
    for (const float prominence : {-1.0f, 0.05f}) {
        std::vector<uint64_t> scratch(watershed_scratch(b, prominence >= 0));
        watershed(images.map.data(), b, 0.6f, 0.3f, prominence, labels.data(), scratch.data(), status.data(), run);
        keep(all, labels);
        keep(all, status);
    }
    constexpr size_t kCapacity = 256;
    std::vector<uint64_t> pairs(kCapacity + 1), scratch(overlap_scratch(kCapacity) / 2 + 1);
    std::vector<int64_t> pixels_of(kCapacity + 1);
    label_overlap(images.labels.data(), images.moved.data(), pixels, kCapacity, pairs.data(), pixels_of.data(),
                  scratch.data(), status.data(), run);
    std::vector<std::pair<uint64_t, int64_t>> sorted;  // slots depend on who comes first
    for (size_t i = 0; i < static_cast<size_t>(status[0]); ++i) sorted.emplace_back(pairs[i], pixels_of[i]);
    std::sort(sorted.begin(), sorted.end());
    keep(all, sorted);

    constexpr uint32_t kTile = 20;
    const std::vector<int64_t> starts{-3, 10, 25};
    const std::vector<float> factors(b.images, 0.5f);
    std::vector<float> tiles(b.images * 9 * kTile * kTile), blended(b.images * 40 * 40);
    const Starts at = starts_of(starts.data(), 3, "starts");
    run("gather", Gather<uint8_t, float>{images.mask.data(), b.images, b.height, b.width, 1, kTile, factors.data(),
                                         factors.data(), 0, 9, tiles.data(), at, at});
    keep(all, tiles);
    run("blend", Blend<float>{tiles.data(), b.images, kTile, 5, 0, 40, 40, blended.data(), at, at});
    keep(all, blended);
    run("spread", Spread{blended.data(), b.images, kTile, 5, 0, 40, 40, tiles.data(), at, at});
    keep(all, tiles);

    const size_t samples = b.height, prototypes = b.width;
    std::vector<float> by_sample(samples), by_prototype(prototypes), out(samples * prototypes),
        parts(sinkhorn_parts(samples) * prototypes);
    Mass<float> mass{images.map.data(), samples, prototypes, 0.1f, nullptr};
    sinkhorn_sample_max(mass, by_sample.data(), run);
    mass.sample_max = by_sample.data();
    const std::vector<float> ones(std::max(samples, prototypes), 1.0f);
    sinkhorn_prototype_mass(mass, ones.data(), by_prototype.data(), parts.data(), run);
    keep(all, by_prototype);
    sinkhorn_targets(mass, ones.data(), ones.data(), out.data(), run);
    keep(all, out);
    sinkhorn_sample_mass(mass, ones.data(), out.data(), run);
    keep(all, out);
    return all;
}

}  // namespace

int main() {
    for (const auto& [count, height, width, levels] :
         {std::array<uint32_t, 4>{1, 90, 110, 1u << 20}, {1, 50, 60, 6}, {3, 31, 47, 1u << 20}, {2, 40, 41, 9}}) {
        const Images images = random_images(count, height, width, levels);
        if (results(images, Racer{}) == results(images, Emulator{})) continue;
        std::fprintf(stderr, "%u x %u x %u: threads at once give another result\n", count, height, width);
        return EXIT_FAILURE;
    }
    std::puts("clean");
    return EXIT_SUCCESS;
}
