#include <string>

#include "bindings.hpp"

namespace dinocell::bindings {
namespace {

const char* isa() {
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return "x86-64-v4";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
        return "x86-64-v3";
#endif
    return "baseline";
}

py::dict build_info() {
    py::dict info;
    info["version"] = DINOCELL_VERSION;
    info["compiler"] = std::string(DINOCELL_COMPILER);
    info["flags"] = DINOCELL_FLAGS_TEXT;
    info["isa"] = isa();
    info["cuda"] = false;
    return info;
}

}  // namespace
}  // namespace dinocell::bindings

PYBIND11_MODULE(_native, module) {
    namespace bindings = dinocell::bindings;
    module.def("build_info", &bindings::build_info);
    bindings::bind_connected_components(module);
    bindings::bind_distance_map(module);
    bindings::bind_label_overlap(module);
    bindings::bind_prominent_maxima(module);
    bindings::bind_relabel(module);
    bindings::bind_tiles(module);
    bindings::bind_watershed(module);
}
