// What the kernels of the flagged families share on the device. The protocol is in flagged.h.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/flagged.h"
#include "fabric/cuda/signal.cuh"

namespace weft::collectives::cuda {

// 16 bytes of a vector, read and written as elements of T.
template <class T>
union Pack {
  static constexpr int kElements = static_cast<int>(kLineBytes / sizeof(T));
  uint4 whole;
  T elements[kElements];
  __device__ Pack() {}
};

__device__ inline std::uint32_t next_epoch(std::uint32_t epoch) {
  return epoch == 0xffffffffU ? 2 : epoch + 1;
}

// A thread's place in the grid, and the operation's in the regions.
struct FlaggedBlock {
  const FlaggedParams& params;
  int thread;   // in the grid
  int threads;  // of the grid
  std::uint32_t epoch = 0;

  __device__ explicit FlaggedBlock(const FlaggedParams& given)
      : params(given),
        thread(static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x)),
        threads(static_cast<int>(gridDim.x * blockDim.x)) {}

  // Reads the epoch, then advances all words of this block. All threads. What does not need the
  // epoch comes before: the word is some hundred nanoseconds away.
  __device__ void begin(std::uint32_t* left) {
    const int block = static_cast<int>(blockIdx.x);
    const int grid = static_cast<int>(gridDim.x);
    epoch = next_epoch(params.epochs[block]);
    if (threadIdx.x == 0) *left = 0;
    __syncthreads();  // everyone has read the word, and sees `left`
    for (int b = block + static_cast<int>(threadIdx.x) * grid; b < params.blocks;
         b += static_cast<int>(blockDim.x) * grid) {
      params.epochs[b] = epoch;
    }
  }

  // Where `source` puts its lines in the region of `owner`.
  __device__ uint4* lines(int owner, int source, int part = 0) const {
    const int index = source < owner ? source : source - 1;
    const int place = part * (params.world - 1) + index;
    return reinterpret_cast<uint4*>(params.regions[owner]) + (epoch & 1U) * params.parity_lines +
           place * params.source_lines;
  }
  // The `step`-th peer after this rank, 1 <= step < world: so that not all push to one at a time.
  __device__ int peer(int step) const {
    const int peer = params.rank + step;
    return peer < params.world ? peer : peer - params.world;
  }
};

// One wait of one thread for data of `source`, counted as its one piece.
__device__ inline bool go_on_waiting(const FlaggedParams& params, int source, int step,
                                     fabric::cuda::FaultLatch& latch) {
  if (latch.left()) return false;
  const fabric::Outcome verdict = latch.verdict();
  if (verdict == fabric::Outcome::ok) return true;
  latch.leave(verdict, fabric::Awaited::data, params.rank, step, source, 1, 0);
  return false;
}

// A planned fault before `step`? Then it happens here; false: the block leaves. All threads.
__device__ inline bool pass_fault_point(const FlaggedParams& params, int step,
                                        fabric::cuda::FaultLatch& latch) {
  const FaultPoint& fault = params.fault;
  if (fault.action == FaultPoint::Action::none || fault.rank != params.rank || fault.step != step) {
    return true;
  }
  if (threadIdx.x == 0) {
    fabric::Outcome outcome = fabric::Outcome::stopped;
    if (fault.action == FaultPoint::Action::delay) {
      const std::int64_t end = ptx::globaltimer() + fault.delay_ns;
      outcome = fabric::Outcome::ok;
      while (outcome == fabric::Outcome::ok && ptx::globaltimer() < end) {
        __nanosleep(1000);
        outcome = latch.aborted();
      }
    }
    if (outcome != fabric::Outcome::ok) {
      latch.leave(outcome, fabric::Awaited::data, params.rank, step, -1, 0, 0);
    }
  }
  __syncthreads();
  return !latch.left();
}

// Up to sizeof(Words) bytes of a vector from element boundary `at` on, as units that are aligned
// there; past the vector's end come zeros.
template <class Unit, class Words>
__device__ Words load_part(const std::byte* vector, std::int64_t at, std::int64_t bytes) {
  constexpr int kUnits = static_cast<int>(sizeof(Words) / sizeof(Unit));
  const int count = static_cast<int>(min(bytes - at, std::int64_t{sizeof(Words)}));
  Words words{};
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    if (i * static_cast<int>(sizeof(Unit)) < count) {
      reinterpret_cast<Unit*>(&words)[i] = reinterpret_cast<const Unit*>(vector + at)[i];
    }
  }
  return words;
}
template <class Unit, class Words>
__device__ void store_part(std::byte* vector, std::int64_t at, std::int64_t bytes,
                           const Words& words) {
  constexpr int kUnits = static_cast<int>(sizeof(Words) / sizeof(Unit));
  const int count = static_cast<int>(min(bytes - at, std::int64_t{sizeof(Words)}));
#pragma unroll
  for (int i = 0; i < kUnits; ++i) {
    if (i * static_cast<int>(sizeof(Unit)) < count) {
      reinterpret_cast<Unit*>(vector + at)[i] = reinterpret_cast<const Unit*>(&words)[i];
    }
  }
}

// The same in one access where all of it is there and `aligned` says that it may be.
template <class Unit, class Words>
__device__ Words load_words(const std::byte* vector, std::int64_t at, std::int64_t bytes,
                            bool aligned) {
  if (aligned && at + static_cast<std::int64_t>(sizeof(Words)) <= bytes) {
    return *reinterpret_cast<const Words*>(vector + at);
  }
  return load_part<Unit, Words>(vector, at, bytes);
}
template <class Unit, class Words>
__device__ void store_words(std::byte* vector, std::int64_t at, std::int64_t bytes, bool aligned,
                            const Words& words) {
  if (aligned && at + static_cast<std::int64_t>(sizeof(Words)) <= bytes) {
    *reinterpret_cast<Words*>(vector + at) = words;
  } else {
    store_part<Unit, Words>(vector, at, bytes, words);
  }
}

__device__ inline bool is_aligned(const std::byte* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

}  // namespace weft::collectives::cuda
