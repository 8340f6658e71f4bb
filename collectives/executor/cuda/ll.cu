// The LL kernel: see ll.h for the protocol.
//
// A thread pushes all its lines before it waits for the first, and reads its own input again for
// the reduction: what it needs at a time fits few registers, whatever the sizes.
#include "collectives/executor/cuda/flagged.cuh"
#include "collectives/executor/cuda/fold.cuh"
#include "collectives/executor/cuda/ll.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kThreads = 512;

// A line is two words of 64 bits: data below, flag above.
using Line = ulonglong2;

__device__ Line* lines_of(const FlaggedBlock& block, int owner, int source) {
  return reinterpret_cast<Line*>(block.lines(owner, source));
}
__device__ Line make_line(const uint2& data, std::uint32_t epoch) {
  const std::uint64_t flag = std::uint64_t{epoch} << 32;
  return {flag | data.x, flag | data.y};
}
__device__ bool has_arrived(const Line& line, std::uint32_t epoch) {
  return static_cast<std::uint32_t>(line.x >> 32) == epoch &&
         static_cast<std::uint32_t>(line.y >> 32) == epoch;
}

__device__ uint2 load_line(const FlaggedParams& params, int i) {
  return load_words<std::uint8_t, uint2>(params.input, i * kLinePayload, params.bytes,
                                         is_aligned(params.input, kLinePayload));
}

// `first`: the thread's first line.
__device__ void push(const FlaggedBlock& block, int lines, const uint2& first) {
  const FlaggedParams& params = block.params;
  for (int i = block.thread; i < lines; i += block.threads) {
    const uint2 data = i == block.thread ? first : load_line(params, i);
    const Line line = make_line(data, block.epoch);
    for (int step = 1; step < params.world; ++step) {
      ptx::st_relaxed_sys(lines_of(block, block.peer(step), params.rank) + i, line);
    }
  }
}

// Keeps invariant 2 of ll.h.
__device__ void clear_one_line(const FlaggedBlock& block, int lines) {
  const FlaggedParams& params = block.params;
  if (blockIdx.x != 0 || static_cast<int>(threadIdx.x) >= params.world) return;
  const int source = static_cast<int>(threadIdx.x);
  const auto line =
      static_cast<int>(block.epoch / 2 % static_cast<std::uint32_t>(params.source_lines));
  if (source == params.rank || line < lines) return;
  ptx::st_relaxed_sys(lines_of(block, params.rank, source) + line, Line{0, 0});
}

// Waits for a line; false: the block leaves.
__device__ bool take(const FlaggedBlock& block, int source, int i, FaultLatch& latch, uint2& data) {
  const Line* at = lines_of(block, block.params.rank, source) + i;
  Line line = ptx::ld_relaxed_sys(at);
  if (!has_arrived(line, block.epoch)) {
    latch.begin_wait();
    do {
      if (!go_on_waiting(block.params, source, 0, latch)) return false;
      line = ptx::ld_relaxed_sys(at);
    } while (!has_arrived(line, block.epoch));
  }
  data = {static_cast<std::uint32_t>(line.x), static_cast<std::uint32_t>(line.y)};
  return true;
}

template <class Fold>
__device__ void reduce(const FlaggedBlock& block, int lines, FaultLatch& latch) {
  using T = typename Fold::type;
  constexpr int kElements = static_cast<int>(kLinePayload / sizeof(T));
  const FlaggedParams& params = block.params;
  const bool in_aligned = is_aligned(params.input, kLinePayload);
  const bool out_aligned = is_aligned(params.output, kLinePayload);
  for (int i = block.thread; i < lines; i += block.threads) {
    const std::int64_t at = i * kLinePayload;
    const auto own = load_words<T, uint2>(params.input, at, params.bytes, in_aligned);
    typename Fold::Wide partial[kElements];
    for (int source = 0; source < params.world; ++source) {
      uint2 data = own;
      if (source != params.rank && !take(block, source, i, latch, data)) return;
      const T* elements = reinterpret_cast<const T*>(&data);
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        partial[e] = source == 0 ? Fold::first(elements[e]) : Fold::next(partial[e], elements[e]);
      }
    }
    uint2 result;
#pragma unroll
    for (int e = 0; e < kElements; ++e)
      reinterpret_cast<T*>(&result)[e] = Fold::last(partial[e], params.world);
    store_words<T>(params.output, at, params.bytes, out_aligned, result);
  }
}

template <class Fold>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ FlaggedParams params) {
  __shared__ std::uint32_t left;
  const auto lines = static_cast<int>((params.bytes + kLinePayload - 1) / kLinePayload);
  FlaggedBlock block(params);
  const uint2 first = load_line(params, block.thread);
  block.begin(&left);
  FaultLatch latch(&left, params.records + blockIdx.x, params.limits);
  if (!pass_fault_point(params, 0, latch)) return;
  push(block, lines, first);
  clear_one_line(block, lines);
  reduce<Fold>(block, lines, latch);
}

}  // namespace

Kernel ll_kernel(DType dtype, ReduceOp op) {
  const void* function = with_element(dtype, [op](auto element) {
    return pick_fold<decltype(element)>(
        op, [](auto fold) { return reinterpret_cast<const void*>(&run<decltype(fold)>); });
  });
  return {function, kThreads, 0};
}

}  // namespace weft::collectives::cuda
