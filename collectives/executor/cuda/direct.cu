// The zero-copy kernel: see direct.h.
//
// Invariants
//   1. Blocks of one number form the barriers' groups; what a block moves nobody else's barrier
//      covers, so a rank's kernel ends only when all of its blocks have passed theirs: then no peer
//      touches its memory any more.
//   2. The entry barrier is relaxed: what peers' inputs hold was written before their kernels
//   began.
//      So is the exit barrier where all only pull: loads are complete once their values were used.
#include "collectives/executor/cuda/direct.h"
#include "collectives/executor/cuda/phase.cuh"
#include "collectives/executor/cuda/rank_order.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = kDirectThreads;
constexpr int kCopyUnroll = 8;
constexpr std::uint32_t kEntered = 1;
constexpr std::uint32_t kMoved = 2;

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

__device__ Share share_of(std::int64_t end) {
  return {static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x,
          static_cast<std::int64_t>(gridDim.x) * kThreads, end};
}

// What packs of `pack` bytes do not cover, in units: all of a move whose addresses do not line up,
// or else its two ends, for the last block's threads. body(skipped bytes, share of the units) is
// called in a loop: it is large.
template <class Body>
__device__ void beside_packs(const DirectMove& move, int pack, int unit, const Body& body) {
  if (move.head >= 0 && blockIdx.x != gridDim.x - 1) return;
  const std::int64_t tail = move.head + (move.bytes - move.head) / pack * pack;
#pragma unroll 1
  for (int end = 0; end < (move.head < 0 ? 1 : 2); ++end) {
    if (move.head < 0) {
      body(0, share_of(move.bytes / unit));
    } else {
      const std::int64_t skip = end == 0 ? 0 : tail;
      const std::int64_t bytes = end == 0 ? move.head : move.bytes - tail;
      body(skip, Share{threadIdx.x, kThreads, bytes / unit});
    }
  }
}

template <class Order, class Reduction>
__device__ void reduce_move(const Reduction& reduction, const DirectParams& params,
                            const DirectMove& move) {
  using T = typename Reduction::type;
  const Route route{params, move, move.head};
  if (move.head >= 0) {
    reduce_packs<Order>(
        reduction, route.sources(), [&](int r) { return route.source(r); }, route.targets(),
        [&](int t) { return route.target(t); },
        share_of((move.bytes - move.head) / Pack<T>::kBytes));
  }
  beside_packs(move, Pack<T>::kBytes, sizeof(T), [&](std::int64_t skip, const Share& share) {
    const Route rest{params, move, skip};
    reduce_elements(
        reduction, rest.sources(), [&](int r) { return rest.source(r); }, rest.targets(),
        [&](int t) { return rest.target(t); }, share);
  });
}

__device__ void copy_move(const DirectParams& params, const DirectMove& move) {
  const Route route{params, move, move.head};
  if (route.targets() == 1 && route.source(0) == route.target(0)) return;  // already there
  if (move.head >= 0) {
    copy_packs<kCopyUnroll>(
        route.source(0), route.targets(), [&](int t) { return route.target(t); },
        share_of((move.bytes - move.head) / kPackBytes));
  }
  const auto by = [&](auto unit) {
    beside_packs(move, kPackBytes, sizeof(unit), [&](std::int64_t skip, const Share& share) {
      const Route rest{params, move, skip};
      copy_units<decltype(unit)>(
          rest.source(0), rest.targets(), [&](int t) { return rest.target(t); }, share);
    });
  };
  const std::int64_t item = item_bytes(params.dtype);
  if (item == 8) return by(std::uint64_t{});
  if (item == 4) return by(std::uint32_t{});
  if (item == 2) return by(std::uint16_t{});
  by(std::uint8_t{});
}

// The moves of a plan all sum, or none does.
struct Copies {};

template <class Order>
__device__ void move_all(const DirectParams& params) {
  for (int m = 0; m < params.move_count; ++m) {
    if constexpr (std::is_same_v<Order, Copies>) {
      copy_move(params, params.moves[m]);
    } else {
      with_rank_order_of<Order>(params.dtype, params.op, params.layout.world, [&](auto reduction) {
        reduce_move<Order>(reduction, params, params.moves[m]);
      });
    }
  }
}

// All threads; false: the block leaves.
__device__ bool fault_at(const DirectParams& params, int step, fabric::cuda::FaultLatch& latch) {
  if (params.fault.action == FaultPoint::Action::none) return true;
  if (threadIdx.x == 0) pass_fault(params.fault, params.rank, step, latch);
  __syncthreads();
  return !latch.left();
}

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

template <class Order>
__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ DirectParams params) {
  __shared__ std::uint32_t left;
  const int block = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) left = 0;
  fabric::cuda::FaultLatch latch(&left, params.records + block, params.limits);
  Tokens tokens(params.arenas, params.layout, params.rank, block);
  __syncthreads();
  if (!fault_at(params, 0, latch)) return;
  if (!tokens.pass(kEntered, false, 0, latch)) return;
  move_all<Order>(params);
  if (!fault_at(params, 1, latch)) return;
  if (!tokens.pass(kMoved, params.pushes, 1, latch)) return;
  tokens.finish(kMoved);
}

}  // namespace

Kernel direct_kernel(Motion motion, DType dtype, ReduceOp op) {
  const auto make = [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run<typename decltype(order)::type>), kThreads, 0};
  };
  if (motion == Motion::one_shot_held) {
    return choose_rank_order(dtype, op, [](auto order) {
      return Kernel{reinterpret_cast<const void*>(&run_held<typename decltype(order)::type>),
                    kThreads, 0};
    });
  }
  if (motion > Motion::reduce_scatter) return make(std::type_identity<Copies>{});
  return choose_rank_order(dtype, op, make);
}

}  // namespace weft::collectives::cuda
