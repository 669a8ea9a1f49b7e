#include "checked.hpp"

#ifdef DINOCELL_CHECKED
#include <stdexcept>
#include <string>

namespace dinocell {

void check_failed(const char* condition, const char* file, int line) {
    throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": not true: " + condition);
}

}  // namespace dinocell
#endif
