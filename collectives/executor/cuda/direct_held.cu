// The zero-copy kernel that holds its sums in registers across the exit barrier: see direct.h.
#include "collectives/executor/cuda/direct.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = kDirectThreads;

// Sums what the thread can hold, passes the exit barrier, stores. All threads; false: the block
// leaves.
template <class Order, class Reduction>
__device__ bool move_held(const Reduction& reduction, const DirectParams& params, Tokens& tokens,
                          fabric::cuda::FaultLatch& latch) {
  using T = typename Reduction::type;
  if (params.move_count == 0) return tokens.pass(kMoved, false, 1, latch);
  const DirectMove& move = params.moves[0];
  const Route route{params, move, move.head};
  const auto source = [&](int r) { return route.source(r); };
  const Share share = share_of((move.bytes - move.head) / Pack<T>::kBytes);
  Pack<T> held[kDirectHeld];
  bool summed = false;
  if constexpr (kOneRankOrder<Order>) {
    summed = route.sources() == 2;
    if (summed) sum_two(reduction, source(0), source(1), share.first, share, held);
  }
  if (!summed) {
#pragma unroll
    for (int u = 0; u < kDirectHeld; ++u) {
      const std::int64_t at = share.first + u * share.stride;
      if (at < share.end) sum_pack(reduction, route.sources(), source, at, held[u]);
    }
  }
  // Before and behind the packs: an element each for some of the last block's threads.
  constexpr int kItem = static_cast<int>(sizeof(T));
  const std::int64_t head = move.head / kItem;
  std::int64_t element = threadIdx.x;
  if (element >= head) element += share.end * Pack<T>::kElements;
  const bool has_element = blockIdx.x == gridDim.x - 1 && element < move.bytes / kItem;
  const Route whole{params, move, 0};
  T single{};
  if (has_element) {
    single =
        sum_element(reduction, route.sources(), [&](int r) { return whole.source(r); }, element);
  }
  if (!tokens.pass(kMoved, false, 1, latch)) return false;
#pragma unroll
  for (int u = 0; u < kDirectHeld; ++u) {
    const std::int64_t at = share.first + u * share.stride;
    if (at < share.end) held[u].store(route.target(0), at);
  }
  if (has_element) reinterpret_cast<T*>(whole.target(0))[element] = single;
  return true;
}

template <class Order>
__global__ void __launch_bounds__(kThreads, 1)
    run_held(const __grid_constant__ DirectParams params) {
  __shared__ std::uint32_t left;
  const int block = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) left = 0;
  fabric::cuda::FaultLatch latch(&left, params.records + block, params.limits);
  Tokens tokens(params.arenas, params.layout, params.rank, block);
  __syncthreads();
  if (!fault_at(params, 0, latch)) return;
  if (!tokens.pass(kEntered, false, 0, latch)) return;
  if (!fault_at(params, 1, latch)) return;
  with_rank_order_of<Order>(params.dtype, params.op, params.layout.world, [&](auto reduction) {
    if (move_held<Order>(reduction, params, tokens, latch)) tokens.finish(kMoved);
  });
}

}  // namespace

Kernel direct_held_kernel(DType dtype, ReduceOp op) {
  return choose_rank_order(dtype, op, [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run_held<typename decltype(order)::type>),
                  kThreads, 0};
  });
}

}  // namespace weft::collectives::cuda
