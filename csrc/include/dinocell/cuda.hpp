#pragma once

struct CUstream_st;  // cudaStream_t, without CUDA's headers
struct __nv_bfloat16;

namespace dinocell::cuda {

using Bfloat16 = __nv_bfloat16;

// Of all kernels: arrays lie in device memory, row-major. Work is queued on the stream, and none waits for the device
// or asks for memory, so that all can be captured in a CUDA graph. `images` of one size, one after the other, are
// worked on at once, each as if alone. std::invalid_argument for more than a GPU call takes; std::runtime_error if a
// kernel does not start.

// Versions as CUDA counts them: 13000 is 13.0. driver_version is 0 where there is no driver.
int runtime_version();
int driver_version();

}  // namespace dinocell::cuda
