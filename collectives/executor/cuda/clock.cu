#include "collectives/executor/cuda/clock.cuh"
#include "core/device/cuda/ptx.cuh"

namespace weft::collectives::cuda {
namespace {

// One thread. It ends when the host has asked for the last time, or does not ask for a while.
__global__ void run(ClockTalk* talk) {
  const std::int64_t deadline = ptx::globaltimer() + kClockPatience;
  for (std::uint32_t round = 1; round <= kClockRounds; ++round) {
    // sync(clock-asked): acquire - of nothing but the word itself, so that a relaxed load does;
    // pairs with release in ask()
    while (ptx::ld_relaxed_sys(&talk->asked) < round) {
      if (ptx::globaltimer() > deadline) return;
    }
    *static_cast<volatile std::int64_t*>(&talk->device_ns) = ptx::globaltimer();
    // sync(clock-answered): release - publishes the time; pairs with acquire in ask()
    ptx::fence_acq_rel_sys();
    ptx::st_relaxed_sys(&talk->answered, round);
  }
}

}  // namespace

Kernel clock_kernel() { return {reinterpret_cast<const void*>(&run), 1, 0}; }

}  // namespace weft::collectives::cuda
