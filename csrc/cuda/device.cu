#include "dinocell/cuda.hpp"

#include "launch.hpp"

namespace dinocell::cuda {

int runtime_version() { return CUDART_VERSION; }

int driver_version() {
    int version = 0;
    device::check(cudaDriverGetVersion(&version), "cudaDriverGetVersion", {});
    return version;
}

}  // namespace dinocell::cuda
