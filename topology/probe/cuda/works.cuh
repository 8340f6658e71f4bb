// The kernels of the works. See topology/probe/works.h.
//
// Invariants
//   1. Every wait counts its thread's clock, and leaves after kLongestCycles even if the GPU's
//      nanosecond clock stood still.
//   2. Loads and stores only, so that it runs on anything from sm_80 on. No multicast.
#pragma once

#include <cstdint>

#include "core/base/types.h"
#include "core/device/cuda/ptx.cuh"
#include "topology/probe/works.h"

namespace weft::topology::cuda {

inline constexpr int kCopyThreads = 512;
inline constexpr int kCopyUnroll = 8;
// Two blocks a multiprocessor: what it took to get the most out of NVLink (264 on H200).
inline constexpr int kBlocksEach = 2;

// Polls a word until it has reached `goal`. False: too late.
class TimedWait {
 public:
  __device__ explicit TimedWait(std::int64_t timeout_ns) {
    deadline_ = ptx::globaltimer() + timeout_ns;
    checked_ = began_ = clock64();
  }

  __device__ bool reach(const std::uint32_t* word, std::uint32_t goal) {
    while (!Epoch(ptx::ld_relaxed_sys(word)).reached(Epoch(goal))) {
      if (passed()) return false;
    }
    return true;
  }

 private:
  static constexpr std::int64_t kCyclesToCheck = 200000;         // 0.1 ms at 2 GHz
  static constexpr std::int64_t kLongestCycles = 20000000000LL;  // 10 s at 2 GHz

  // The GPU's nanosecond clock is slow to read, so it is asked at times only.
  __device__ bool passed() {
    const std::int64_t now = clock64();
    if (now - checked_ < kCyclesToCheck) return false;
    checked_ = now;
    return now - began_ > kLongestCycles || ptx::globaltimer() >= deadline_;
  }

  std::int64_t deadline_ = 0;
  std::int64_t began_ = 0;
  std::int64_t checked_ = 0;
};

__device__ inline void copy_rest(uint4* to, const uint4* from, std::int64_t i, std::int64_t count,
                                 std::int64_t stride) {
  for (; i < count; i += stride) to[i] = __ldcs(from + i);
}

// Sixteen bytes a thread and access, eight loads under way before the first store.
__global__ void __launch_bounds__(kCopyThreads) copy(const __grid_constant__ CopyParams params) {
  auto* to = static_cast<uint4*>(params.to);
  const auto* from = static_cast<const uint4*>(params.from);
  const std::int64_t count = params.bytes / kCopyUnit;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kCopyThreads;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kCopyThreads + threadIdx.x;
  for (; i + (kCopyUnroll - 1) * stride < count; i += kCopyUnroll * stride) {
    uint4 values[kCopyUnroll];
#pragma unroll
    for (int u = 0; u < kCopyUnroll; ++u) values[u] = __ldcs(from + i + u * stride);
#pragma unroll
    for (int u = 0; u < kCopyUnroll; ++u) to[i + u * stride] = values[u];
  }
  copy_rest(to, from, i, count, stride);
}

// One thread.
__global__ void __launch_bounds__(32) gate(const __grid_constant__ GateParams params) {
  if (threadIdx.x != 0) return;
  TimedWait wait(params.timeout_ns);
  if (!wait.reach(&params.gate->opened, params.goal)) {
    ptx::st_relaxed_sys(&params.report->late, 1U);
  }
}

// One thread on each of two devices.
__global__ void __launch_bounds__(32) flags(const __grid_constant__ FlagParams params) {
  if (threadIdx.x != 0) return;
  TimedWait wait(params.timeout_ns);
  std::int64_t start = ptx::globaltimer();
  for (std::int32_t round = 1; round <= params.warm + params.rounds; ++round) {
    const std::uint32_t value = params.base + static_cast<std::uint32_t>(round);
    if (round == params.warm + 1) start = ptx::globaltimer();
    if (params.serves) ptx::st_relaxed_sys(params.peers, value);
    if (!wait.reach(params.mine, value)) {
      ptx::st_relaxed_sys(&params.report->late, 1U);
      return;
    }
    if (!params.serves) ptx::st_relaxed_sys(params.peers, value);
  }
  volatile FlagReport* report = params.report;
  report->ns = ptx::globaltimer() - start;
}

}  // namespace weft::topology::cuda
