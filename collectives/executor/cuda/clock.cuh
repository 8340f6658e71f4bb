// What the host and a GPU say to each other to compare their clocks; in pinned memory.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/kernel.h"

namespace weft::collectives::cuda {

struct ClockTalk {
  std::uint32_t asked = 0;     // by the host: round number, from 1
  std::uint32_t answered = 0;  // by the GPU
  std::int64_t device_ns = 0;  // its clock in that round
};

inline constexpr std::uint32_t kClockRounds = 32;
inline constexpr std::int64_t kClockPatience = 20'000'000;  // ns, on either side

// Its parameter: ClockTalk*.
Kernel clock_kernel();

}  // namespace weft::collectives::cuda
