// Counts every operator new of the test program (count_allocations.cc replaces it).
#pragma once

#include <cstdint>

namespace weft::testing {

std::int64_t allocations_so_far();

}  // namespace weft::testing
