#pragma once

#include <cstddef>
#include <cstdint>

#include "dinocell/cuda.hpp"

namespace dinocell::cuda {

// Sums and products with a matrix that is never stored, for Sinkhorn-Knopp on a GPU: of sample i and prototype j it
// holds exp(logits[i][j] / temperature - sample_max[i]), with logits of [num_samples, num_prototypes], row-major.
// Logit: float or bfloat16; all arithmetic is in float, sums have a fixed order. See cuda.hpp for what holds for all
// kernels. Each reads the logits once.

// sample_max[i]: the largest logits[i][j] / temperature.
template <typename Logit>
void sinkhorn_sample_max(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                         float* sample_max, CUstream_st* stream);

// mass[j]: the sum over i of the matrix times v[i]. scratch: sinkhorn_scratch(num_samples, num_prototypes) numbers.
template <typename Logit>
void sinkhorn_prototype_mass(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                             const float* sample_max, const float* v, float* mass, float* scratch, CUstream_st* stream);
size_t sinkhorn_scratch(size_t num_samples, size_t num_prototypes);

// mass[i]: the sum over j of the matrix times u[j].
template <typename Logit>
void sinkhorn_sample_mass(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                          const float* sample_max, const float* u, float* mass, CUstream_st* stream);

// out[i][j]: the matrix times u[j] v[i].
template <typename Logit>
void sinkhorn_targets(const Logit* logits, size_t num_samples, size_t num_prototypes, float temperature,
                      const float* sample_max, const float* u, const float* v, float* out, CUstream_st* stream);

}  // namespace dinocell::cuda
