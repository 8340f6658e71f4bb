// What the zero-copy kernels share: see direct.h.
//
// Invariants
//   1. Blocks of one number form the barriers' groups; what a block moves nobody else's barrier
//      covers, so a rank's kernel ends only when all of its blocks have passed theirs: then no peer
//      touches its memory any more.
//   2. The entry barrier is relaxed: what peers' inputs hold was written before their kernels
//   began.
//      So is the exit barrier where all only pull: loads are complete once their values were used.
#pragma once

#include "collectives/executor/cuda/direct.h"
#include "collectives/executor/cuda/phase.cuh"
#include "collectives/executor/cuda/rank_order.cuh"

namespace weft::collectives::cuda {

inline constexpr std::uint32_t kEntered = 1;
inline constexpr std::uint32_t kMoved = 2;

// A move's addresses, `skip` bytes into it.
struct Route {
  const DirectParams& params;
  const DirectMove& move;
  std::int64_t skip = 0;

  __device__ int sources() const { return move.from == kAllOfThem ? params.layout.world : 1; }
  __device__ int targets() const { return move.to == kAllOfThem ? params.layout.world : 1; }
  __device__ const std::byte* source(int r) const {
    return params.inputs[move.from == kAllOfThem ? r : move.from] + move.from_offset + skip;
  }
  // The rank after this one first, this one last.
  __device__ std::byte* target(int t) const {
    int to = move.to;
    if (to == kAllOfThem) {
      to = params.rank + 1 + t;
      if (to >= params.layout.world) to -= params.layout.world;
    }
    return params.outputs[to] + move.to_offset + skip;
  }
};

__device__ inline Share share_of(std::int64_t end) {
  return {static_cast<std::int64_t>(blockIdx.x) * kDirectThreads + threadIdx.x,
          static_cast<std::int64_t>(gridDim.x) * kDirectThreads, end};
}

}  // namespace weft::collectives::cuda
