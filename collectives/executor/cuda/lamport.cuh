// Words that are data or all ones: what both Lamport kernels do with them. See lamport.h.
#pragma once

#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/flagged.cuh"
#include "collectives/executor/cuda/fold.cuh"

namespace weft::collectives::cuda {

// 16 bytes of elements of T as the words that are written and read whole.
template <class T>
struct Sentinel {
  static constexpr std::uint32_t kOnes = 0xffffffffU;
  // The NaN that stands in for a word that would be all ones.
  static constexpr std::uint32_t kNan = sizeof(T) == 2 ? 0x7fff7fffU : 0x7fffffffU;

  __device__ static bool arrived(const uint4& v) {
    if constexpr (sizeof(T) == 8) return (v.x & v.y) != kOnes && (v.z & v.w) != kOnes;
    return v.x != kOnes && v.y != kOnes && v.z != kOnes && v.w != kOnes;
  }
  __device__ static uint4 without(uint4 v) {
    if constexpr (sizeof(T) == 8) {
      if ((v.x & v.y) == kOnes) v.y = kNan;
      if ((v.z & v.w) == kOnes) v.w = kNan;
    } else {
      if (v.x == kOnes) v.x = kNan;
      if (v.y == kOnes) v.y = kNan;
      if (v.z == kOnes) v.z = kNan;
      if (v.w == kOnes) v.w = kNan;
    }
    return v;
  }

  using Access = std::conditional_t<sizeof(T) == 8, ulonglong2, uint4>;
  __device__ static uint4 load(const uint4* at) {
    const Access v = ptx::ld_relaxed_sys(reinterpret_cast<const Access*>(at));
    if constexpr (sizeof(T) == 8) {
      return {static_cast<std::uint32_t>(v.x), static_cast<std::uint32_t>(v.x >> 32),
              static_cast<std::uint32_t>(v.y), static_cast<std::uint32_t>(v.y >> 32)};
    } else {
      return v;
    }
  }
  __device__ static void store(uint4* at, const uint4& v) {
    if constexpr (sizeof(T) == 8) {
      ptx::st_relaxed_sys(
          reinterpret_cast<ulonglong2*>(at),
          ulonglong2{v.x | std::uint64_t{v.y} << 32, v.z | std::uint64_t{v.w} << 32});
    } else {
      ptx::st_relaxed_sys(at, v);
    }
  }
};

// Waits for up to kVectors vectors of one source: those at lines + first + u * apart below `end`.
// Reads them and writes all ones back. False: the block leaves.
template <class T, int kVectors>
__device__ bool take(const FlaggedParams& params, uint4* lines, int first, int apart, int end,
                     int source, int step, fabric::cuda::FaultLatch& latch,
                     uint4 (&values)[kVectors]) {
  using S = Sentinel<T>;
  for (bool waited = false;;) {
    int missing = -1;
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
      if (first + u * apart < end) values[u] = S::load(lines + first + u * apart);
    }
#pragma unroll
    for (int u = 0; u < kVectors; ++u) {
      if (first + u * apart < end && !S::arrived(values[u])) missing = first + u * apart;
    }
    if (missing < 0) break;
    // Waits for the last alone: the others come before it, as a rule, and polls take bandwidth.
    if (!waited) latch.begin_wait();
    waited = true;
    do {
      if (!go_on_waiting(params, source, step, latch)) return false;
    } while (!S::arrived(S::load(lines + missing)));
  }
  constexpr std::uint32_t kOnes = S::kOnes;
#pragma unroll
  for (int u = 0; u < kVectors; ++u) {
    if (first + u * apart < end) S::store(lines + first + u * apart, {kOnes, kOnes, kOnes, kOnes});
  }
  return true;
}

// partial = the next source's elements folded in; `first`: it is the first source.
template <class Fold, int kElements>
__device__ void fold_in(typename Fold::Wide (&partial)[kElements], const uint4& value, bool first) {
  Pack<typename Fold::type> pack;
  pack.whole = value;
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    partial[e] = first ? Fold::first(pack.elements[e]) : Fold::next(partial[e], pack.elements[e]);
  }
}
template <class Fold, int kElements>
__device__ uint4 finish(const typename Fold::Wide (&partial)[kElements], int ranks) {
  Pack<typename Fold::type> pack;
#pragma unroll
  for (int e = 0; e < kElements; ++e) pack.elements[e] = Fold::last(partial[e], ranks);
  return pack.whole;
}

// pick_fold() for a dtype that lamport_serves().
template <class Pick>
const void* pick_float_fold(DType dtype, ReduceOp op, const Pick& pick) {
  switch (dtype) {
    case DType::f16:
      return pick_fold<Half>(op, pick);
    case DType::bf16:
      return pick_fold<BFloat16>(op, pick);
    case DType::f64:
      return pick_fold<double>(op, pick);
    default:
      return pick_fold<float>(op, pick);
  }
}

}  // namespace weft::collectives::cuda
