// The ring all-reduce by bulk copies (TMA) through a shared-memory pipeline, warp-specialised.
//
//   producer   waits for the peer's pieces; bulk loads: input, slot or output -> stage
//   consumers  reduce in the stage: own += partial
//   storers    one a stage; wait for a free slot; bulk stores: stage -> next rank's slot or output,
//              and own output
//   relays     two: watch the peers' counts (data, credit), pass them on in shared memory
//   publisher  tells the peers: pieces stored (data), slots read (credit); closes the operation;
//              is the block's watchdog: twice the timeout without progress ends the block
//
// A piece goes through stage `number % kStages`. `full`, `reduced` and `empty` are the stage's
// mbarriers: producer -> consumers -> storer -> producer.
//
// Invariants
//   1. All roles walk the same items in the same order (for_each_item); they share counts, not
//      data.
//   2. Data is published once the bulk store is complete (cp.async.bulk.wait_group, not .read):
//      only then is it written. Publishing is a thread of its own, so that its fence delays no
//      copy; it always catches up, so a storer that blocks holds nothing back.
//   3. A waiting thread leaves when the block does (FaultLatch). No thread ends before its own bulk
//      copies have: they would write to memory that is no longer its block's.
//   4. Less than 16 bytes are left over at the vector's end at most: these the producer and the
//      storer copy as bytes.
#include <cutlass/arch/barrier.h>

#include <cute/arch/copy_sm90_tma.hpp>

#include "collectives/executor/cuda/reduce.cuh"
#include "collectives/executor/cuda/ring.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && !defined(CUTE_ARCH_TMA_SM90_ENABLED)
#error "CuTe drops bulk copies on this architecture: use a suffix, e.g. 90a, 100a, 100f"
#endif

namespace weft::collectives::cuda {
namespace {

using Barrier = cutlass::arch::ClusterTransactionBarrier;
using BulkLoad = cute::SM90_BULK_COPY_G2S;
using BulkStore = cute::SM90_BULK_COPY_S2G;
using fabric::cuda::FaultLatch;
using fabric::cuda::LaneWait;

constexpr int kStages = 6;
constexpr int kConsumerWarps = 8;
constexpr int kStorerWarp = kConsumerWarps;  // consumers come first
constexpr int kProducerWarp = kStorerWarp + kStages;
constexpr int kPublisherWarp = kProducerWarp + 1;
constexpr int kDataRelayWarp = kPublisherWarp + 1;
constexpr int kCreditRelayWarp = kDataRelayWarp + 1;
constexpr int kThreads = (kCreditRelayWarp + 1) * 32;
constexpr int kStageBytes = 2 * static_cast<int>(kRingPieceBytes);

struct Shared {
  alignas(8) std::uint64_t full[kStages];
  alignas(8) std::uint64_t reduced[kStages];
  alignas(8) std::uint64_t empty[kStages];
  std::uint32_t stored[kStages];  // pieces of this stage whose stores are complete
  std::uint32_t slots_read;       // slots that are in shared memory
  std::uint32_t data;             // relayed: pieces received
  std::uint32_t credit;           // relayed: slots the next rank has read
  std::uint32_t left;             // FaultLatch
};

// What every role needs.
struct Block {
  const RingParams& params;
  Shared& shared;
  std::byte* stages;
  int index;
  const Lanes& lanes;

  // Own elements, and behind them the partial result.
  __device__ std::byte* own(int stage) const { return stages + stage * kStageBytes; }
  __device__ std::byte* partial(int stage) const { return own(stage) + kRingPieceBytes; }
};

__device__ int stage_of(const Item& item) { return static_cast<int>(item.number % kStages); }
__device__ std::uint32_t use_of(const Item& item) { return item.number / kStages; }
__device__ std::uint32_t bulk_part(std::int32_t bytes) {
  return static_cast<std::uint32_t>(bytes) & ~15U;
}

// CUTLASS's barrier functions do not hold the compiler back from moving memory accesses; these do.
__device__ void arrive(std::uint64_t& barrier) {
  asm volatile("" ::: "memory");
  Barrier::arrive(&barrier);
}
__device__ void wait_phase(std::uint64_t& barrier, std::uint32_t use) {
  while (!Barrier::try_wait(&barrier, use & 1U)) {
  }
  asm volatile("" ::: "memory");
}
__device__ bool wait_phase(std::uint64_t& barrier, std::uint32_t use, const FaultLatch& latch) {
  while (!Barrier::try_wait(&barrier, use & 1U)) {
    if (latch.left()) return false;
  }
  asm volatile("" ::: "memory");
  return true;
}

__device__ void copy_bytes(std::byte* to, const std::byte* from, int begin, int end) {
  for (int i = begin; i < end; ++i) to[i] = from[i];
}

__device__ void load(std::uint64_t& full, std::byte* stage, const std::byte* from, int bytes) {
  const int bulk = static_cast<int>(bulk_part(bytes));
  if (bulk > 0) BulkLoad::copy(from, &full, stage, bulk);
}

__device__ void store(std::byte* to, const std::byte* stage, int bytes) {
  const int bulk = static_cast<int>(bulk_part(bytes));
  if (bulk > 0) BulkStore::copy(stage, to, bulk);
  copy_bytes(to, stage, bulk, bytes);
}

__device__ void produce_item(const Block& block, const Item& item) {
  const Place at = place(block.params, block.index, item);
  const int stage = stage_of(item);
  std::uint64_t& full = block.shared.full[stage];
  const bool forwards = item.step.source == schedule::Source::output;
  const std::byte* own = (forwards ? block.params.output : block.params.input) + at.offset;
  const std::byte* partial = slot(block.params, block.params.arena, block.index, item.slots_read);
  const int bulk = static_cast<int>(bulk_part(at.bytes));
  copy_bytes(block.own(stage), own, bulk, at.bytes);
  if (item.reduces()) copy_bytes(block.partial(stage), partial, bulk, at.bytes);
  asm volatile("" ::: "memory");
  Barrier::arrive_and_expect_tx(&full, bulk_part(at.bytes) * (item.reduces() ? 2 : 1));
  load(full, block.own(stage), own, at.bytes);
  if (item.reduces()) load(full, block.partial(stage), partial, at.bytes);
}

__device__ void produce(const Block& block, FaultLatch& latch) {
  LaneWait data = block.lanes.wait_data(block.params, &block.shared.data);
  const Item end = for_each_item(block.params, [&](const Item& item) {
    if (!pass_fault_point(block.params, item, latch)) return false;
    if (!item.moves()) return true;
    if (item.number >= kStages &&
        !wait_phase(block.shared.empty[stage_of(item)], use_of(item) - 1, latch)) {
      return false;
    }
    if (item.waits() && !data.reach(item.received, item.position, latch)) return false;
    produce_item(block, item);
    return true;
  });
  const std::uint32_t first = end.number > kStages ? end.number - kStages : 0;
  for (std::uint32_t n = first; n < end.number; ++n) {
    wait_phase(block.shared.full[n % kStages], n / kStages);
  }
}

// own = combine(partial, own), 16 bytes at a time; past the end lies room for the last of them.
template <class Combine>
__device__ void reduce(std::byte* own, const std::byte* partial, int bytes, Combine combine) {
  using T = typename Combine::type;
  constexpr int kElements = static_cast<int>(16 / sizeof(T));
  union Vector {
    uint4 whole;
    T elements[kElements];
    __device__ Vector() {}
  };
  const int vectors = (bytes + 15) / 16;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += kConsumerWarps * 32) {
    Vector a;
    Vector b;
    a.whole = reinterpret_cast<const uint4*>(partial)[i];
    b.whole = reinterpret_cast<const uint4*>(own)[i];
#pragma unroll
    for (int e = 0; e < kElements; ++e) b.elements[e] = combine(a.elements[e], b.elements[e]);
    reinterpret_cast<uint4*>(own)[i] = b.whole;
  }
}

__device__ void consume(const Block& block, FaultLatch& latch) {
  const RingParams& params = block.params;
  for_each_item(params, [&](const Item& item) {
    if (!item.moves()) return true;
    const int stage = stage_of(item);
    if (!wait_phase(block.shared.full[stage], use_of(item), latch)) return false;
    if (item.reduces()) {
      // sync(cuda-slots): release - publishes that the slot was read; pairs with acquire in
      // publish_all
      if (threadIdx.x == 0) ptx::st_release_cta(&block.shared.slots_read, item.slots_read + 1);
      const int bytes = place(params, block.index, item).bytes;
      with_combine(
          params.dtype, params.op, item.step.last_sum, params.world.value(),
          [&](auto combine) { reduce(block.own(stage), block.partial(stage), bytes, combine); });
      ptx::fence_proxy_async_shared();
    }
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(block.shared.reduced[stage]);
    return true;
  });
}

__device__ void store_item(const Block& block, const Item& item) {
  const RingParams& params = block.params;
  const Place at = place(params, block.index, item);
  const std::byte* stage = block.own(stage_of(item));
  if (item.step.target == schedule::Target::slot) {
    store(slot(params, params.next_arena, block.index, item.slots_pushed), stage, at.bytes);
  } else if (item.step.target == schedule::Target::output) {
    store(params.next_output + at.offset, stage, at.bytes);
  }
  if (item.step.keep) store(params.output + at.offset, stage, at.bytes);
}

__device__ void store_stage(const Block& block, int stage, FaultLatch& latch) {
  const auto slots = static_cast<std::uint32_t>(block.params.tiling.slots);
  LaneWait credit = block.lanes.wait_credit(block.params, &block.shared.credit);
  for_each_item(block.params, [&](const Item& item) {
    if (!item.moves() || stage_of(item) != stage) return true;
    if (!wait_phase(block.shared.reduced[stage], use_of(item), latch)) return false;
    if (item.step.target == schedule::Target::slot && item.slots_pushed >= slots &&
        !credit.reach(item.slots_pushed + 1 - slots, item.position, latch)) {
      return false;
    }
    store_item(block, item);
    ptx::bulk_commit_group();
    ptx::bulk_wait_group_read();
    arrive(block.shared.empty[stage]);
    ptx::bulk_wait_group();
    // sync(cuda-stored): release - publishes that the piece is written; pairs with acquire in
    // publish_all
    ptx::st_release_cta(&block.shared.stored[stage], use_of(item) + 1);
    return true;
  });
}

// Counts of this operation as far as the peers may know them.
struct Published {
  std::uint32_t data = 0;
  std::uint32_t credit = 0;
};

// Publishes whatever is new, with one fence for all of it; false: nothing is.
__device__ bool publish_all(const Block& block, Published& published) {
  Published now = published;
  // sync(cuda-stored): acquire - pairs with release in store_stage
  while (ptx::ld_acquire_cta(&block.shared.stored[now.data % kStages]) > now.data / kStages) {
    ++now.data;
  }
  // sync(cuda-slots): acquire - pairs with release in consume
  now.credit = ptx::ld_acquire_cta(&block.shared.slots_read);
  if (now.data == published.data && now.credit == published.credit) return false;
  const fabric::LaneProgress& start = block.lanes.start;
  fabric::cuda::publish(block.lanes.data_out, start.sent + now.data);
  if (now.credit != published.credit) {
    ptx::st_relaxed_sys(block.lanes.credit_out, start.slots_read + now.credit);
  }
  published = now;
  return true;
}

// Its own deadline is twice the others', who know whom they wait for.
__device__ void publish(const Block& block, const Item& end, FaultLatch& latch) {
  fabric::WaitLimits limits = block.params.limits;
  limits.timeout_ns *= 2;
  limits.abort_flag = nullptr;
  FaultLatch watchdog(&block.shared.left, block.params.records + block.index, limits);
  Published published;
  watchdog.begin_wait();
  while (published.data != end.number || published.credit != end.slots_read) {
    if (latch.left()) return;
    if (publish_all(block, published)) {
      watchdog.stop_clock();
      watchdog.begin_wait();
      continue;
    }
    const fabric::Outcome verdict = watchdog.verdict();
    if (verdict != fabric::Outcome::ok) {
      const int rank = block.params.rank.value();
      latch.leave(verdict, fabric::Awaited::data, rank, -1, -1, end.number, published.data);
    }
  }
  block.lanes.finish(block.params, end, latch);
}

// The roles that talk to the peers.
__device__ void speak(const Block& block, int warp, FaultLatch& latch) {
  const RingParams& params = block.params;
  const fabric::LaneProgress& start = block.lanes.start;
  const Item end = for_each_item(params, [](const Item&) { return true; });
  if (warp == kDataRelayWarp) {
    fabric::cuda::relay(block.lanes.data_in, start.received, end.received, &block.shared.data,
                        latch);
  } else if (warp == kCreditRelayWarp) {
    fabric::cuda::relay(block.lanes.credit_in, start.slots_pushed, end.slots_pushed,
                        &block.shared.credit, latch);
  } else {
    publish(block, end, latch);
  }
}

__device__ void start_block(Shared& shared) {
  for (int i = 0; i < kStages; ++i) {
    Barrier::init(&shared.full[i], 1);
    Barrier::init(&shared.reduced[i], kConsumerWarps);
    Barrier::init(&shared.empty[i], 1);
    shared.stored[i] = 0;
  }
  shared.slots_read = 0;
  shared.data = 0;
  shared.credit = 0;
  shared.left = 0;
  cutlass::arch::fence_barrier_init();
  ptx::fence_proxy_async_shared();
}

[[maybe_unused]] __device__ void run_block(const RingParams& params, Shared& shared,
                                           std::byte* stages) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int index = static_cast<int>(blockIdx.x);
  const Lanes lanes(params, index);
  if (threadIdx.x == 0) start_block(shared);
  std::uint32_t* left_word = fabric::cuda::left_word(params.arena, params.layout, index);
  if (!fabric::cuda::begin_block(left_word)) return;
  FaultLatch latch(&shared.left, params.records + index, params.limits, left_word);
  const Block block{params, shared, stages, index, lanes};
  if (warp < kConsumerWarps) {
    consume(block, latch);
  } else if (threadIdx.x % 32 != 0) {
    return;
  } else if (warp < kProducerWarp) {
    store_stage(block, warp - kStorerWarp, latch);
  } else if (warp == kProducerWarp) {
    produce(block, latch);
  } else if (params.world.value() > 1) {
    speak(block, warp, latch);
  }
}

// Compiled for older architectures too, where nothing ever launches it.
__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ RingParams params) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ __align__(128) std::byte stages[];
  __shared__ Shared shared;
  run_block(params, shared, stages);
#endif
}

}  // namespace

Kernel ring_kernel() {
  return {reinterpret_cast<const void*>(&run), kThreads, kStages * kStageBytes};
}

}  // namespace weft::collectives::cuda
