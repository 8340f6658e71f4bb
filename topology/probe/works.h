// What devices do while they are verified and measured: copy by their processors, wait at a gate,
// and throw a flag to and fro.
//
// Invariants
//   1. Every wait ends by itself after `timeout_ns`, and says so in the report it was given;
//   nothing
//      traps. The code is the same in debug and release builds.
//   2. A gate and a flag publish nothing but themselves: all their accesses are relaxed.
//   3. Words that the host shares with devices lie in pinned memory, each on a line of its own.
//
// On a simulated device a work is done by the thread of its stream (sim_works.cc), on CUDA by a
// kernel (cuda/works.cu).
#pragma once

#include <cstdint>

#include "core/device/device.h"

namespace weft::topology {

// `bytes` is a multiple of 16, both addresses are aligned to 16. Either may be a peer's.
struct CopyParams {
  void* to = nullptr;
  const void* from = nullptr;
  std::int64_t bytes = 0;
  std::int32_t share = 1;  // so many such copies run on the device at once: each takes its part
};
inline constexpr std::int64_t kCopyUnit = 16;

// Holds the stream until the host has opened the gate that often.
struct alignas(128) Gate {
  std::uint32_t opened = 0;  // counted up by the host
};
struct alignas(128) GateReport {
  std::uint32_t late = 0;  // set by a device that did not wait any longer
};
struct GateParams {
  const Gate* gate = nullptr;
  GateReport* report = nullptr;
  std::uint32_t goal = 0;
  std::int64_t timeout_ns = 0;
};

// A flag goes to the peer and comes back, `warm` times untimed and `rounds` times timed. Values run
// from base + 1 to base + warm + rounds, so that words need not be cleared between two works.
struct alignas(128) FlagReport {
  std::int64_t ns = 0;     // of the timed rounds, by the device's clock
  std::uint32_t late = 0;  // a flag did not come in time
};
struct FlagParams {
  std::uint32_t* mine = nullptr;  // in this device's memory; the peer writes it
  std::uint32_t* peers = nullptr;
  FlagReport* report = nullptr;
  std::uint32_t base = 0;
  std::int32_t warm = 0;
  std::int32_t rounds = 0;
  bool serves = false;  // throws first, and takes the time
  std::int64_t timeout_ns = 0;
};

struct ProbeWorks {
  Work::Function copy = nullptr;   // CopyParams
  Work::Function gate = nullptr;   // GateParams
  Work::Function flags = nullptr;  // FlagParams
  // Loads whatever the works need, so that no later call has to while a device waits.
  void (*preload)(Device& device) = nullptr;
};

// For simulated and CUDA devices. Throws InvalidArgument for other kinds, and CUDA ones in a build
// without CUDA.
const ProbeWorks& probe_works(DeviceKind kind);
// Null in a build without CUDA.
const ProbeWorks* cuda_probe_works();

}  // namespace weft::topology
