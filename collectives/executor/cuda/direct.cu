// The zero-copy kernels that move between the barriers: see direct.h, direct.cuh.
#include "collectives/executor/cuda/direct.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = kDirectThreads;
constexpr int kCopyUnroll = 8;

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

template <class Order>
__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ DirectParams params) {
  __shared__ std::uint32_t left;
  const int block = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) left = 0;
  std::uint32_t* left_word =
      fabric::cuda::left_word(params.arenas[params.rank], params.layout, block);
  fabric::cuda::FaultLatch latch(&left, params.records + block, params.limits, left_word);
  Tokens tokens(params.arenas, params.layout, params.rank, block);
  if (!fabric::cuda::begin_block(left_word)) return;
  if (!fault_at(params, 0, latch)) return;
  if (!tokens.pass(kEntered, Tokens::Pass::enter, 0, latch)) return;
  move_all<Order>(params);
  if (!fault_at(params, 1, latch)) return;
  const auto kind = params.pushes ? Tokens::Pass::leave : Tokens::Pass::part;
  if (!tokens.pass(kMoved, kind, 1, latch)) return;
  tokens.finish(kMoved);
}

}  // namespace

Kernel direct_kernel(Motion motion, DType dtype, ReduceOp op) {
  const auto make = [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run<typename decltype(order)::type>), kThreads, 0};
  };
  if (motion > Motion::reduce_scatter) return make(std::type_identity<Copies>{});
  return choose_rank_order(dtype, op, make);
}

}  // namespace weft::collectives::cuda
