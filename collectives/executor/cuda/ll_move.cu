// The LL kernel that only moves: see ll_move.h.
#include "collectives/executor/cuda/ll.cuh"
#include "collectives/executor/cuda/ll_move.cuh"
#include "collectives/executor/cuda/ll_move.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kThreads = 512;

// Lines that carry a part; an empty one has a line too.
__device__ int lines_of_part(const Part& part) { return max(1, lines_for(part.bytes)); }

__device__ void push(const FlaggedBlock& block, const LlMoveParams& params) {
  for (int step = 1; step < block.params.world; ++step) {
    const int peer = block.peer(step);
    const Part& part = params.sent[peer];
    Line* const lines = lines_of(block, peer, block.params.rank);
    const int count = lines_of_part(part);
    for (int i = block.thread; i < count; i += block.threads) {
      const uint2 data = load_line(block.params.input + part.at, i, part.bytes);
      ptx::st_relaxed_sys(lines + i, make_line(data, block.epoch));
    }
  }
}

__device__ void store_line(std::byte* vector, int i, std::int64_t bytes, const uint2& data) {
  store_words<std::uint8_t>(vector, i * kLinePayload, bytes, is_aligned(vector, kLinePayload),
                            data);
}

__device__ void keep(const FlaggedBlock& block, const LlMoveParams& params) {
  const Part& part = params.kept;
  const std::byte* const from = block.params.input + part.at;
  std::byte* const to = block.params.output + params.kept_at;
  if (from == to) return;
  const int count = lines_for(part.bytes);
  for (int i = block.thread; i < count; i += block.threads) {
    store_line(to, i, part.bytes, load_line(from, i, part.bytes));
  }
}

__device__ void receive(const FlaggedBlock& block, const LlMoveParams& params, FaultLatch& latch) {
  for (int step = 1; step < block.params.world; ++step) {
    const int source = block.peer(step);
    const Part& part = params.received[source];
    const int count = lines_of_part(part);
    for (int i = block.thread; i < count; i += block.threads) {
      uint2 data;
      if (!take(block, source, i, latch, data)) return;
      if (part.bytes > 0) store_line(block.params.output + part.at, i, part.bytes, data);
    }
  }
}

__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ LlMoveParams params) {
  __shared__ std::uint32_t left;
  FlaggedBlock block(params.flagged);
  block.begin(&left);
  FaultLatch latch(&left, params.flagged.records + blockIdx.x, params.flagged.limits);
  if (!pass_fault_point(params.flagged, 0, latch)) return;
  push(block, params);
  clear_one_line(block, [&](int source) { return lines_of_part(params.received[source]); });
  keep(block, params);
  receive(block, params, latch);
}

}  // namespace

Kernel ll_move_kernel() { return {reinterpret_cast<const void*>(&run), kThreads, 0}; }

}  // namespace weft::collectives::cuda
