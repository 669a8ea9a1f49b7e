#include "dinocell/sinkhorn.hpp"

#include <cuda_bf16.h>

#include "sinkhorn_kernels.hpp"

namespace dinocell::cuda {

using device::Launcher;
using device::Mass;

size_t sinkhorn_scratch(size_t num_samples, size_t num_prototypes) {
    return device::sinkhorn_parts(num_samples) * num_prototypes;
}

template <typename Logit>
void sinkhorn_sample_max(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                         float* sample_max, cudaStream_t stream) {
    const Mass<Logit> mass{logits, num_samples, num_prototypes, temperature, nullptr};
    device::sinkhorn_sample_max(mass, sample_max, Launcher{stream});
}

template <typename Logit>
void sinkhorn_prototype_mass(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                             const float* sample_max, const float* v, float* mass, float* scratch,
                             cudaStream_t stream) {
    const Mass<Logit> matrix{logits, num_samples, num_prototypes, temperature, sample_max};
    device::sinkhorn_prototype_mass(matrix, v, mass, scratch, Launcher{stream});
}

template <typename Logit>
void sinkhorn_sample_mass(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                          const float* sample_max, const float* u, float* mass, cudaStream_t stream) {
    const Mass<Logit> matrix{logits, num_samples, num_prototypes, temperature, sample_max};
    device::sinkhorn_sample_mass(matrix, u, mass, Launcher{stream});
}

template <typename Logit>
void sinkhorn_targets(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                      const float* sample_max, const float* u, const float* v, float* out, cudaStream_t stream) {
    const Mass<Logit> matrix{logits, num_samples, num_prototypes, temperature, sample_max};
    device::sinkhorn_targets(matrix, u, v, out, Launcher{stream});
}

#define DINOCELL_SINKHORN(Logit)                                                                                   \
    template void sinkhorn_sample_max(const Logit*, size_t, size_t, float, float*, cudaStream_t);                  \
    template void sinkhorn_prototype_mass(const Logit*, size_t, size_t, float, const float*, const float*, float*, \
                                          float*, cudaStream_t);                                                   \
    template void sinkhorn_sample_mass(const Logit*, size_t, size_t, float, const float*, const float*, float*,    \
                                       cudaStream_t);                                                              \
    template void sinkhorn_targets(const Logit*, size_t, size_t, float, const float*, const float*, const float*,  \
                                   float*, cudaStream_t);
DINOCELL_SINKHORN(float)
DINOCELL_SINKHORN(__nv_bfloat16)
#undef DINOCELL_SINKHORN

}  // namespace dinocell::cuda
