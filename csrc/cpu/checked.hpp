// Checks of indices and of what one step takes for granted of another. Only builds with DINOCELL_CHECKED (a CMake
// option) make them; elsewhere they cost nothing.
#pragma once

#include <cstddef>

namespace dinocell {

#ifdef DINOCELL_CHECKED
constexpr bool kChecked = true;
// Throws std::logic_error.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
#define DINOCELL_CHECK(condition) \
    (static_cast<bool>(condition) ? void() : ::dinocell::check_failed(#condition, __FILE__, __LINE__))
#else
constexpr bool kChecked = false;
#define DINOCELL_CHECK(condition) void()
#endif

// A size of strips, bands or blocks; in checked builds a small one, so that small images are cut into many.
constexpr size_t cut_size(size_t usual, size_t small) { return kChecked ? small : usual; }

}  // namespace dinocell
