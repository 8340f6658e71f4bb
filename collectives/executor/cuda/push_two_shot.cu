// The push-only two-shot kernel: see push_two_shot.h. Roles by warp:
//
//   scatter  push pieces of the input into the owners' slots, every owner's piece of a round before
//            the next round
//   reduce   sum own input and the other ranks' slots, push the result into every output
//   mouth    tells the peers: pieces pushed (data), slots read (credit); at the end one more count
//            of data: all of my results are in your output
//   ear      watches the peers' counts, passes the least of each kind on in shared memory; has the
//            deadline; closes the operation
//
// Invariants
//   1. Scatter and reduce warps run ahead of each other: each counts its own progress, and a count
//   is
//      published once all warps of the role have passed it.
//   2. Scatter waits for credits of `slots` rounds before; reduce for a piece from every peer. The
//      lowest round on any rank can always go on, so they never wait in a circle.
//   3. The last count of data comes after all slots of this rank have been read: a peer that has
//      every rank's last count may use any scratch of anybody.
//   4. Slots are read by plain loads after the ear's acquire, which also empties the L1 cache.
#include "collectives/executor/cuda/phase.cuh"
#include "collectives/executor/cuda/push_two_shot.h"
#include "collectives/executor/cuda/rank_order.cuh"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kRoleWarps = 8;
constexpr int kRoleThreads = kRoleWarps * 32;
constexpr int kReduceWarp = kRoleWarps;  // scatter warps come first
constexpr int kMouthWarp = 2 * kRoleWarps;
constexpr int kEarWarp = kMouthWarp + 1;
constexpr int kThreads = (kEarWarp + 1) * 32;
constexpr int kCopyUnroll = 4;
constexpr int kCreditLane = 16;  // the ear's first lane that watches credits
constexpr unsigned kAllLanes = 0xffffffffU;

struct Shared {
  std::uint32_t scattered[kRoleWarps];  // pieces, of all owners
  std::uint32_t reduced[kRoleWarps];    // rounds
  std::uint32_t arrived;                // rounds whose pieces came from every peer
  std::uint32_t credited;               // rounds whose slots every peer has read
  std::uint32_t left;                   // FaultLatch
};

struct Block {
  const PushTwoShotParams& params;
  Shared& shared;
  int index;

  __device__ int world() const { return params.layout.world; }
  __device__ int peers() const { return params.layout.world - 1; }
  // The k-th rank after this one.
  __device__ int peer(int k) const {
    const int peer = params.rank + 1 + k;
    return peer < world() ? peer : peer - world();
  }
  __device__ std::uint32_t rounds() const {
    return static_cast<std::uint32_t>(params.tiling.rounds);
  }
  // Where `from` pushes its piece of a round on rank `at`.
  __device__ std::byte* slot(int at, int from, std::uint32_t round) const {
    const auto slots = static_cast<std::uint32_t>(params.tiling.slots);
    const std::int64_t source =
        static_cast<std::int64_t>(index) * peers() + (from < at ? from : from - 1);
    return params.arenas[at] + params.slots_offset +
           (source * slots + round % slots) * params.tiling.piece_elements *
               item_bytes(params.dtype);
  }
  __device__ schedule::Range piece(int chunk, std::uint32_t round) const {
    return params.tiling.piece(chunk, index, static_cast<int>(round), 0);
  }
};

// Waits for a count in shared memory that the ear keeps; its deadline ends this. A whole warp.
__device__ bool wait_shared(const std::uint32_t* word, std::uint32_t count,
                            const FaultLatch& latch) {
  // sync(cuda-ear): acquire - of the memory behind the count; pairs with release in hear()
  while (!Epoch(ptx::ld_acquire_cta(word)).reached(Epoch(count))) {
    if (latch.left()) return false;
  }
  return true;
}

// sync(cuda-mouth): release - publishes this warp's progress; pairs with acquire in speak()
__device__ void pass_on(std::uint32_t* word, std::uint32_t count) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ptx::st_release_cta(word, count);
}

__device__ void scatter(const Block& block, int warp, const FaultLatch& latch) {
  const PushTwoShotParams& params = block.params;
  const std::int64_t size = item_bytes(params.dtype);
  const auto slots = static_cast<std::uint32_t>(params.tiling.slots);
  std::uint32_t done = 0;
  for (std::uint32_t round = 0; round < block.rounds(); ++round) {
    if (round >= slots && !wait_shared(&block.shared.credited, round + 1 - slots, latch)) return;
    for (int k = 0; k < block.peers(); ++k) {
      const int owner = block.peer(k);
      const schedule::Range range = block.piece(owner, round);
      const std::byte* from = params.input + range.begin * size;
      std::byte* to = block.slot(owner, params.rank, round);
      const std::int64_t bytes = range.size() * size;
      const std::int64_t packed = bytes / kPackBytes * kPackBytes;
      const auto target = [&](int) { return to; };
      copy_packs<kCopyUnroll>(from, 1, target, {threadIdx.x, kRoleThreads, bytes / kPackBytes});
      if (threadIdx.x < bytes - packed) to[packed + threadIdx.x] = from[packed + threadIdx.x];
      pass_on(&block.shared.scattered[warp], ++done);
    }
  }
}

template <class Order, class Reduction>
__device__ void reduce_piece(const Reduction& reduction, const Block& block, std::uint32_t round,
                             int thread) {
  using T = typename Reduction::type;
  const PushTwoShotParams& params = block.params;
  const schedule::Range range = block.piece(params.rank, round);
  const auto bytes = static_cast<std::int64_t>(range.size() * sizeof(T));
  const auto offset = static_cast<std::int64_t>(range.begin * sizeof(T));
  const auto source = [&](int r) {
    return r == params.rank ? params.input + offset
                            : static_cast<const std::byte*>(block.slot(params.rank, r, round));
  };
  // Own output last.
  const auto target = [&](int t) {
    return params.outputs[t < block.peers() ? block.peer(t) : params.rank] + offset;
  };
  const Share share{thread, kRoleThreads, bytes / Pack<T>::kBytes};
  reduce_packs<Order>(reduction, block.world(), source, block.world(), target, share);
  const std::int64_t packed = share.end * Pack<T>::kElements;
  reduce_elements(reduction, block.world(), source, block.world(), target,
                  {packed + thread, kRoleThreads, range.size()});
}

template <class Order>
__device__ void reduce(const Block& block, int warp, FaultLatch& latch) {
  const PushTwoShotParams& params = block.params;
  const int thread = static_cast<int>(threadIdx.x) - kReduceWarp * 32;
  if (params.fault.action != FaultPoint::Action::none) {
    if (thread == 0) pass_fault(params.fault, params.rank, 1, latch);
    asm volatile("bar.sync 1, %0;" ::"n"(kRoleThreads) : "memory");
    if (latch.left()) return;
  }
  with_rank_order_of<Order>(params.dtype, params.op, block.world(), [&](auto reduction) {
    for (std::uint32_t round = 0; round < block.rounds(); ++round) {
      if (!wait_shared(&block.shared.arrived, round + 1, latch)) return;
      reduce_piece<Order>(reduction, block, round, thread);
      pass_on(&block.shared.reduced[warp], round + 1);
    }
  });
}

// One lane's words of one peer, its own count and where it starts.
struct Lane {
  std::uint32_t* data_out = nullptr;
  std::uint32_t* credit_out = nullptr;
  const std::uint32_t* data_in = nullptr;
  const std::uint32_t* credit_in = nullptr;
  fabric::LaneProgress* progress = nullptr;
  fabric::LaneProgress start{};

  __device__ Lane(const Block& block, int peer) {
    const PushTwoShotParams& params = block.params;
    const auto words = [&](int at, int from) {
      return fabric::cuda::signals(params.arenas[at], params.layout, block.index, from);
    };
    data_out = &words(peer, params.rank)->data;
    credit_out = &words(peer, params.rank)->credit;
    data_in = &words(params.rank, peer)->data;
    credit_in = &words(params.rank, peer)->credit;
    progress = fabric::cuda::progress(params.arenas[params.rank], params.layout, block.index, peer);
    start = *progress;
  }
};

// The mouth: lane k tells the k-th peer.
__device__ void speak(const Block& block, const Lane& lane, const FaultLatch& latch) {
  const int self = static_cast<int>(threadIdx.x) % 32;
  const auto peers = static_cast<std::uint32_t>(block.peers());
  const std::uint32_t* word =
      self < kRoleWarps ? &block.shared.scattered[self] : &block.shared.reduced[self % kRoleWarps];
  std::uint32_t scattered = 0;
  std::uint32_t reduced = 0;
  while (scattered != block.rounds() * peers || reduced != block.rounds()) {
    if (__any_sync(kAllLanes, latch.left())) return;
    // sync(cuda-mouth): acquire - pairs with release in pass_on()
    const std::uint32_t count = ptx::ld_acquire_cta(word);
    const std::uint32_t pushed = __reduce_min_sync(kAllLanes, self < kRoleWarps ? count : ~0U);
    const std::uint32_t summed = __reduce_min_sync(kAllLanes, self < kRoleWarps ? ~0U : count);
    if (pushed == scattered && summed == reduced) continue;
    __syncwarp();
    scattered = pushed;
    reduced = summed;
    const auto k = static_cast<std::uint32_t>(self);
    if (k >= peers) continue;
    const bool all = scattered == block.rounds() * peers && reduced == block.rounds();
    const std::uint32_t pieces = (scattered + peers - 1 - k) / peers;
    fabric::cuda::publish(lane.data_out, lane.start.sent + pieces + (all ? 1 : 0));
    ptx::st_relaxed_sys(lane.credit_out, lane.start.slots_read + reduced);
  }
}

// What the ear watches in one lane.
struct Watched {
  const std::uint32_t* word = nullptr;  // null: nothing
  std::uint32_t base = 0;
  std::uint32_t last = 0;  // the count it ends with
  std::uint32_t count = 0;
  fabric::Awaited awaited = fabric::Awaited::data;
  int peer = -1;

  __device__ bool over() const { return !word || count == last; }
  // False: the block leaves.
  __device__ bool look(const Block& block, FaultLatch& latch) {
    if (over()) return true;
    const std::uint32_t seen = ptx::ld_relaxed_sys(word) - base;
    if (seen != count) {
      // sync(cuda-lane): acquire - of the memory behind the count; pairs with release in publish()
      const std::uint32_t now = ptx::ld_acquire_sys(word) - base;
      // It may run past `last`: the peer may have begun the next operation.
      count = Epoch(now).reached(Epoch(last)) ? last : now;
      latch.stop_clock();
      latch.begin_wait();
      return true;
    }
    const fabric::Outcome verdict = latch.verdict();
    if (verdict == fabric::Outcome::ok) return true;
    latch.leave(verdict, awaited, block.params.rank, count < block.rounds() ? 0 : 1, peer,
                count + 1, count);
    return false;
  }
};

// The ear: lane k watches the k-th peer's data, lane kCreditLane + k its credit.
__device__ void hear(const Block& block, const Lane& lane, FaultLatch& latch) {
  const int self = static_cast<int>(threadIdx.x) % 32;
  const bool credits = self >= kCreditLane;
  const int k = self % kCreditLane;
  const std::uint32_t rounds = block.rounds();
  Watched watched;
  if (k < block.peers()) {
    watched =
        credits
            ? Watched{lane.credit_in, lane.start.slots_pushed, rounds, 0, fabric::Awaited::credit,
                      block.peer(k)}
            : Watched{lane.data_in,          lane.start.received, rounds + 1, 0,
                      fabric::Awaited::data, block.peer(k)};
  }
  std::uint32_t arrived = 0;
  std::uint32_t credited = 0;
  latch.begin_wait();
  while (!__all_sync(kAllLanes, watched.over())) {
    const bool fine = watched.look(block, latch);
    if (__any_sync(kAllLanes, !fine || latch.left())) return;
    __syncwarp();
    const std::uint32_t count = watched.word ? watched.count : ~0U;
    const std::uint32_t pieces = __reduce_min_sync(kAllLanes, credits ? ~0U : count);
    const std::uint32_t slots = __reduce_min_sync(kAllLanes, credits ? count : ~0U);
    if (self == 0) {
      // sync(cuda-ear): release - publishes what the peers did; pairs with acquire in wait_shared()
      if (pieces != arrived) ptx::st_release_cta(&block.shared.arrived, pieces);
      if (slots != credited) ptx::st_release_cta(&block.shared.credited, slots);
    }
    arrived = pieces;
    credited = slots;
  }
  if (self >= block.peers()) return;
  lane.progress->received = lane.start.received + rounds + 1;
  lane.progress->sent = lane.start.sent + rounds + 1;
  lane.progress->slots_read = lane.start.slots_read + rounds;
  lane.progress->slots_pushed = lane.start.slots_pushed + rounds;
}

template <class Order>
__global__ void __launch_bounds__(kThreads, 1)
    run(const __grid_constant__ PushTwoShotParams params) {
  __shared__ Shared shared;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const Block block{params, shared, static_cast<int>(blockIdx.x)};
  // Before anybody closes the operation: the lanes' counts at its start.
  const int k = static_cast<int>(threadIdx.x) % kCreditLane;
  const Lane lane(block, block.peer(k < block.peers() ? k : 0));
  if (threadIdx.x < kRoleWarps) {
    shared.scattered[threadIdx.x] = 0;
    shared.reduced[threadIdx.x] = 0;
  }
  if (threadIdx.x == 0) shared.arrived = shared.credited = shared.left = 0;
  std::uint32_t* left_word =
      fabric::cuda::left_word(params.arenas[params.rank], params.layout, block.index);
  FaultLatch latch(&shared.left, params.records + block.index, params.limits, left_word);
  if (!fabric::cuda::begin_block(left_word)) return;
  if (params.fault.action != FaultPoint::Action::none) {
    if (threadIdx.x == 0) pass_fault(params.fault, params.rank, 0, latch);
    __syncthreads();
    if (latch.left()) return;
  }
  if (warp < kReduceWarp) {
    scatter(block, warp, latch);
  } else if (warp < kMouthWarp) {
    reduce<Order>(block, warp - kReduceWarp, latch);
  } else if (warp == kMouthWarp) {
    speak(block, lane, latch);
  } else {
    hear(block, lane, latch);
  }
}

}  // namespace

Kernel push_two_shot_kernel(DType dtype, ReduceOp op) {
  return choose_rank_order(dtype, op, [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run<typename decltype(order)::type>), kThreads, 0};
  });
}

}  // namespace weft::collectives::cuda
