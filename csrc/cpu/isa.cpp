#include "isa.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace dinocell {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512};

Isa best() {
    Isa found = Isa::kPortable;
    for (const Isa candidate : kAll)
        if (isa_available(candidate)) found = candidate;
    return found;
}

Isa parse(const std::string& name) {
    std::string names;
    for (const Isa candidate : kAll) {
        if (!isa_available(candidate)) continue;
        if (name == isa_name(candidate)) return candidate;
        names += (names.empty() ? "" : ", ") + std::string(isa_name(candidate));
    }
    throw std::invalid_argument("DINOCELL_ISA is \"" + name + "\", but this CPU offers: " + names +
                                "; choose one of them or unset the variable");
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> value = [] {
        const char* asked = std::getenv("DINOCELL_ISA");
        return asked == nullptr || *asked == '\0' ? best() : parse(asked);
    }();
    return value;
}

}  // namespace

Isa isa() { return current().load(std::memory_order_relaxed); }

void use_isa(const char* name) { current().store(parse(name), std::memory_order_relaxed); }

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::kAvx512:
            return "avx512";
        case Isa::kAvx2:
            return "avx2";
        default:
            return "portable";
    }
}

bool isa_available(Isa isa) {
    switch (isa) {
#if DINOCELL_X86
        case Isa::kAvx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && isa_available(Isa::kAvx2);
        case Isa::kAvx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                   __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
#endif
        default:
            return isa == Isa::kPortable;
    }
}

}  // namespace dinocell
