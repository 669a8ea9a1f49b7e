#include <string>
#include <vector>

#include "bindings.hpp"
#include "isa.hpp"

namespace dinocell::bindings {
namespace {

py::dict build_info() {
    py::dict info;
    info["version"] = DINOCELL_VERSION;
    info["compiler"] = std::string(DINOCELL_COMPILER);
    info["flags"] = DINOCELL_FLAGS_TEXT;
    info["isa"] = isa_name(isa());
    info["cuda"] = DINOCELL_CUDA_TEXT;
    return info;
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Isa candidate : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512})
        if (isa_available(candidate)) names.emplace_back(isa_name(candidate));
    return names;
}

}  // namespace
}  // namespace dinocell::bindings

PYBIND11_MODULE(_native, module) {
    namespace bindings = dinocell::bindings;
    dinocell::isa();  // a wrong DINOCELL_ISA should fail at import, not in the middle of a run
    module.def("build_info", &bindings::build_info);
    module.def("available_isas", &bindings::available_isas);
    module.def("use_isa", &dinocell::use_isa);
    bindings::bind_connected_components(module);
    bindings::bind_device_emulation(module);
    bindings::bind_distance_map(module);
    bindings::bind_label_overlap(module);
    bindings::bind_prominent_maxima(module);
    bindings::bind_relabel(module);
    bindings::bind_tiles(module);
    bindings::bind_watershed(module);
}
