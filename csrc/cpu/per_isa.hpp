// Compiles the file named by DINOCELL_PER_ISA once for each instruction set, in namespaces dinocell::portable, ::avx2
// and ::avx512. Every standard header must be included before, so that only our own code is compiled with more than the
// baseline: an inline function of the library compiled for AVX-512 could otherwise be linked into the portable path.
#include "isa.hpp"

#define DINOCELL_VECTOR_BYTES 16
#define DINOCELL_AVX2 0
#define DINOCELL_AVX512 0
namespace dinocell::portable {
#include DINOCELL_PER_ISA
}
#undef DINOCELL_VECTOR_BYTES

#if DINOCELL_X86

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#undef DINOCELL_AVX2
#define DINOCELL_AVX2 1
#define DINOCELL_VECTOR_BYTES 32
namespace dinocell::avx2 {
#include DINOCELL_PER_ISA
}
#undef DINOCELL_VECTOR_BYTES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#undef DINOCELL_AVX512
#define DINOCELL_AVX512 1
#define DINOCELL_VECTOR_BYTES 64
namespace dinocell::avx512 {
#include DINOCELL_PER_ISA
}
#undef DINOCELL_VECTOR_BYTES
#pragma GCC pop_options

#endif

#undef DINOCELL_AVX2
#undef DINOCELL_AVX512
#undef DINOCELL_PER_ISA
