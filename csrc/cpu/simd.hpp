// DINOCELL_CLONES before a function: it is compiled for three x86-64 levels and the loader picks one.
// Only for loops of integers, or of floats without a reduction: then every level gives the same bits.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define DINOCELL_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DINOCELL_CLONES
#endif
