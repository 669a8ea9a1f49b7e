// What the *.inl files need from the standard library and the compiler; include it before per_isa.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "checked.hpp"
#include "isa.hpp"

#if DINOCELL_X86
#include <immintrin.h>
#endif

static_assert(std::endian::native == std::endian::little, "comparison bits are gathered lowest byte first");
