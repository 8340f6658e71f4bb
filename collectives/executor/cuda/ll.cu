// The LL kernel: see ll.h for the protocol.
//
// A thread pushes all its lines before it waits for the first, and reads its own input again for
// the reduction: what it needs at a time fits few registers, whatever the sizes.
#include "collectives/executor/cuda/fold.cuh"
#include "collectives/executor/cuda/ll.cuh"
#include "collectives/executor/cuda/ll.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kThreads = 512;

// `first`: the thread's first line.
__device__ void push(const FlaggedBlock& block, int lines, const uint2& first) {
  const FlaggedParams& params = block.params;
  for (int i = block.thread; i < lines; i += block.threads) {
    const uint2 data = i == block.thread ? first : load_line(params.input, i, params.bytes);
    const Line line = make_line(data, block.epoch);
    for (int step = 1; step < params.world; ++step) {
      ptx::st_relaxed_sys(lines_of(block, block.peer(step), params.rank) + i, line);
    }
  }
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
  const int lines = lines_for(params.bytes);
  FlaggedBlock block(params);
  const uint2 first = load_line(params.input, block.thread, params.bytes);
  block.begin(&left);
  FaultLatch latch(&left, params.records + blockIdx.x, params.limits);
  if (!pass_fault_point(params, 0, latch)) return;
  push(block, lines, first);
  clear_one_line(block, [=](int) { return lines; });
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
