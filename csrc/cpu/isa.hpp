// The instruction set the kernels run with: one source (*.inl) is compiled for each, and one is chosen at run time.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define DINOCELL_X86 1
#else
#define DINOCELL_X86 0
#endif

namespace dinocell {

enum class Isa { kPortable, kAvx2, kAvx512 };

// The one in use: the best this CPU has, unless the environment variable DINOCELL_ISA (portable, avx2 or avx512) asked
// for less when the library was first used. Results do not depend on it.
// Throws std::invalid_argument if the variable names no set, or one that the CPU does not have.
Isa isa();

// Changes it for the whole process; tests go through all sets with this. Throws as above.
void use_isa(const char* name);

const char* isa_name(Isa isa);
bool isa_available(Isa isa);

}  // namespace dinocell

// return <set>::call, for the set in use.
#if DINOCELL_X86
#define DINOCELL_DISPATCH(...)            \
    switch (::dinocell::isa()) {          \
        case ::dinocell::Isa::kAvx512:    \
            return avx512::__VA_ARGS__;   \
        case ::dinocell::Isa::kAvx2:      \
            return avx2::__VA_ARGS__;     \
        default:                          \
            return portable::__VA_ARGS__; \
    }
#else
#define DINOCELL_DISPATCH(...) return portable::__VA_ARGS__;
#endif
