// The steps of Sinkhorn-Knopp for one thread of a grid; contract in dinocell/sinkhorn.hpp.
#pragma once

#include <cmath>

#include "for_each.hpp"

namespace dinocell::device {

template <typename Logit>
struct Mass {
    const Logit* logits;
    uint64_t num_samples, num_prototypes;
    float temperature;
    const float* sample_max;

    DINOCELL_HD float scaled(uint64_t sample, uint64_t prototype) const {
        return static_cast<float>(logits[sample * num_prototypes + prototype]) / temperature;
    }
    DINOCELL_HD float operator()(uint64_t sample, uint64_t prototype) const {
        return expf(scaled(sample, prototype) - sample_max[sample]);
    }
};

// One block for each sample: a value from all of its prototypes, Largest or SumWith.
template <typename Logit, typename Reduction>
struct OverPrototypes {
    static constexpr int kPhases = 3;
    static constexpr uint32_t kThreads = 256, kGroup = 16;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {
        float part[kThreads];
    };
    struct Local {};

    Mass<Logit> mass;
    Reduction reduction;
    float* out;

    Grid grid() const { return {mass.num_samples, 1, 1}; }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared& shared, Local&) const {
        const uint64_t sample = at.block.x;
        const uint32_t t = at.thread.x;
        if constexpr (Phase == 0) {
            float value = Reduction::kNeutral;
            for (uint64_t j = t; j < mass.num_prototypes; j += kThreads)
                value = Reduction::join(value, reduction.value(mass, sample, j));
            shared.part[t] = value;
        } else if constexpr (Phase == 1) {
            if (t % kGroup != 0) return;
            for (uint32_t k = 1; k < kGroup; ++k) shared.part[t] = Reduction::join(shared.part[t], shared.part[t + k]);
        } else {
            if (t != 0) return;
            float value = shared.part[0];
            for (uint32_t k = kGroup; k < kThreads; k += kGroup) value = Reduction::join(value, shared.part[k]);
            out[sample] = value;
        }
    }
};

struct Largest {
    static constexpr float kNeutral = -INFINITY;
    DINOCELL_HD static float join(float a, float b) { return a != a || a > b ? a : b; }  // NaN stays
    template <typename Logit>
    DINOCELL_HD float value(const Mass<Logit>& mass, uint64_t sample, uint64_t prototype) const {
        return mass.scaled(sample, prototype);
    }
};

struct SumWith {
    static constexpr float kNeutral = 0.0f;
    const float* u;
    DINOCELL_HD static float join(float a, float b) { return a + b; }
    template <typename Logit>
    DINOCELL_HD float value(const Mass<Logit>& mass, uint64_t sample, uint64_t prototype) const {
        return mass(sample, prototype) * u[prototype];
    }
};

// Blocks that go through the prototypes for some samples, then for the next ones.
struct SamplesOfBlock {
    uint64_t block, prototype;

    DINOCELL_HD SamplesOfBlock(const Thread& at, uint32_t threads, uint64_t num_prototypes) {
        const auto across = static_cast<uint32_t>(blocks_for(num_prototypes, threads));
        block = at.block.x / across;
        prototype = static_cast<uint64_t>(at.block.x % across) * threads + at.thread.x;
    }
};

// Each thread sums one prototype over kSamples samples.
template <typename Logit>
struct OverSamples {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 128, kSamples = 64;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {};
    struct Local {};

    Mass<Logit> mass;
    const float* v;
    float* parts;  // [blocks of samples, prototypes]

    Grid grid() const {
        return {blocks_for(mass.num_prototypes, kThreads) * blocks_for(mass.num_samples, kSamples), 1, 1};
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const SamplesOfBlock samples(at, kThreads, mass.num_prototypes);
        const uint64_t j = samples.prototype;
        if (j >= mass.num_prototypes) return;
        const uint64_t first = samples.block * kSamples;
        const uint64_t last = first + kSamples < mass.num_samples ? first + kSamples : mass.num_samples;
        float sum = 0.0f;
        for (uint64_t i = first; i < last; ++i) sum += v[i] * mass(i, j);
        parts[samples.block * mass.num_prototypes + j] = sum;
    }
};

struct AddParts {
    const float* parts;
    uint64_t num_parts, num_prototypes;
    float* out;
    DINOCELL_HD void operator()(uint64_t j) const {
        float sum = 0.0f;
        for (uint64_t k = 0; k < num_parts; ++k) sum += parts[k * num_prototypes + j];
        out[j] = sum;
    }
};

// Each thread writes one prototype of kSamples samples.
template <typename Logit>
struct WriteTargets {
    static constexpr int kPhases = 1;
    static constexpr uint32_t kThreads = 128, kSamples = 8;
    static constexpr Size3 kBlock{kThreads, 1, 1};
    struct Shared {};
    struct Local {};

    Mass<Logit> mass;
    const float* u;
    const float* v;
    float* out;

    Grid grid() const {
        return {blocks_for(mass.num_prototypes, kThreads) * blocks_for(mass.num_samples, kSamples), 1, 1};
    }

    template <int Phase>
    DINOCELL_HD void run(const Thread& at, Shared&, Local&) const {
        const SamplesOfBlock samples(at, kThreads, mass.num_prototypes);
        const uint64_t j = samples.prototype;
        if (j >= mass.num_prototypes) return;
        for (uint32_t k = 0; k < kSamples; ++k) {
            const uint64_t i = samples.block * kSamples + k;
            if (i < mass.num_samples) out[i * mass.num_prototypes + j] = mass(i, j) * u[j] * v[i];
        }
    }
};

inline size_t sinkhorn_parts(size_t num_samples) { return blocks_for(num_samples, OverSamples<float>::kSamples); }

template <typename Logit, typename Run>
void sinkhorn_sample_max(const Mass<Logit>& mass, float* out, const Run& run) {
    run("sinkhorn: sample maxima", OverPrototypes<Logit, Largest>{mass, {}, out});
}

template <typename Logit, typename Run>
void sinkhorn_prototype_mass(const Mass<Logit>& mass, const float* v, float* out, float* scratch, const Run& run) {
    run("sinkhorn: prototypes", OverSamples<Logit>{mass, v, scratch});
    for_each("sinkhorn: prototypes", AddParts{scratch, sinkhorn_parts(mass.num_samples), mass.num_prototypes, out},
             mass.num_prototypes, run);
}

template <typename Logit, typename Run>
void sinkhorn_sample_mass(const Mass<Logit>& mass, const float* u, float* out, const Run& run) {
    run("sinkhorn: samples", OverPrototypes<Logit, SumWith>{mass, {u}, out});
}

template <typename Logit, typename Run>
void sinkhorn_targets(const Mass<Logit>& mass, const float* u, const float* v, float* out, const Run& run) {
    run("sinkhorn: targets", WriteTargets<Logit>{mass, u, v, out});
}

}  // namespace dinocell::device
