#pragma once

struct CUstream_st;     // cudaStream_t, without CUDA's headers
struct __nv_bfloat16;

namespace dinocell::cuda {

using Bfloat16 = __nv_bfloat16;

// Versions as CUDA counts them: 13000 is 13.0. driver_version is 0 where there is no driver.
int runtime_version();
int driver_version();

}  // namespace dinocell::cuda
