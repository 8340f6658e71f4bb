// The ring all-reduce by bulk copies (TMA) through a shared-memory pipeline, warp-specialised.
//
//   loaders    two: of what the rank has itself (input or output -> stage), and of the slots that
//              the previous rank fills (slot -> partial): a bulk copy each, once its place is free
//              and its data is there
//   workers    a warp a stage: reduce in the stage, own += partial, and give the partial back; wait
//              for a free slot; bulk stores: stage -> next rank's slot or output, and own output
//   relays     two: watch the peers' counts (data, credit), pass them on in shared memory
//   publisher  tells the peers: pieces stored (data), slots read (credit); closes the operation;
//              is the block's watchdog: twice the timeout without progress ends the block
//
// A piece goes through stage `moved % kStages`; its mbarriers `full` and `empty` go from loader to
// worker to loader. One that is summed needs a partial as well, but only until it is: there are
// fewer of these (`slots_read % kPartials`), with the mbarriers `loaded` and `summed`. What a block
// moves is bound by the bytes it has in flight, so the two share all of the shared memory; and by
// the time that a role takes for a piece, 0.4 us at the link's rate with 8 blocks. So two threads
// load, and workers, who take longer, take turns.
//
// Invariants
//   1. All roles walk the same steps in the same order (for_each_step); they share counts, not
//      data.
//   2. Data is published once the bulk store is complete (cp.async.bulk.wait_group, not .read):
//      only then is it written. Publishing is a thread of its own, so that its fence delays no
//      copy; it always catches up, so a worker that blocks holds nothing back.
//   3. A waiting thread leaves when the block does (FaultLatch). No thread ends before its own bulk
//      copies have: they would write to memory that is no longer its block's.
//   4. Less than 16 bytes are left over at the vector's end at most: these the loaders and
//      the workers copy as bytes.
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

constexpr int kStages = 9;
constexpr int kPartials = 5;
// sum_piece() waits for a partial's use before its own. An mbarrier tells only odd uses from even
// ones, so the use before that must be over: it is, as at most kStages pieces are under way.
static_assert(kStages <= 2 * kPartials);
constexpr int kBatch = 8;  // vectors of 16 bytes that a thread sums at a time
static_assert(kRingPieceBytes % (kBatch * 32 * 16) == 0);
constexpr int kOwnLoaderWarp = kStages;  // workers come first
constexpr int kPartialLoaderWarp = kOwnLoaderWarp + 1;
constexpr int kPublisherWarp = kPartialLoaderWarp + 1;
constexpr int kDataRelayWarp = kPublisherWarp + 1;
constexpr int kCreditRelayWarp = kDataRelayWarp + 1;
constexpr int kThreads = (kCreditRelayWarp + 1) * 32;
constexpr int kSharedBytes = (kStages + kPartials) * static_cast<int>(kRingPieceBytes);

// When a loader began to wait for a piece of the peer's, and saw it; where chunks are recorded.
struct LoadTimes {
  std::int64_t begun;
  std::int64_t ready;
};

struct Shared {
  alignas(8) std::uint64_t full[kStages];
  alignas(8) std::uint64_t empty[kStages];
  alignas(8) std::uint64_t loaded[kPartials];
  alignas(8) std::uint64_t summed[kPartials];
  LoadTimes own_times[kStages];
  LoadTimes partial_times[kPartials];
  std::uint32_t stored[kStages];   // pieces of this stage whose stores are complete
  std::uint32_t taken[kPartials];  // slots that are in shared memory
  std::uint32_t data;              // relayed: pieces received
  std::uint32_t credit;            // relayed: slots the next rank has read
  std::uint32_t left;              // FaultLatch
};

// Where the n-th of several goes that take turns, and which turn it is.
template <int kPlaces>
struct Turn {
  int place;
  std::uint32_t use;
  __device__ explicit Turn(std::uint32_t n)
      : place(static_cast<int>(n % kPlaces)), use(n / kPlaces) {}
};

// What every role needs.
struct Block {
  const RingParams& params;
  Shared& shared;
  std::byte* stages;
  int index;
  Slots slots_here;
  Slots slots_there;  // at the next rank
  fabric::cuda::BlockLog& log;
  const Lanes& lanes;

  __device__ std::byte* stage(int number) const { return stages + number * kRingPieceBytes; }
  __device__ std::byte* partial(int number) const {
    return stages + (kStages + number) * kRingPieceBytes;
  }
};

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

// Into shared memory; the last phase of `full` ends when all of it is there.
__device__ void load(std::uint64_t& full, std::byte* to, const std::byte* from, int bytes) {
  const std::uint32_t bulk = bulk_part(bytes);
  copy_bytes(to, from, static_cast<int>(bulk), bytes);
  asm volatile("" ::: "memory");
  Barrier::arrive_and_expect_tx(&full, bulk);
  if (bulk > 0) BulkLoad::copy(from, &full, to, static_cast<int>(bulk));
}

__device__ void store(std::byte* to, const std::byte* stage, int bytes) {
  const int bulk = static_cast<int>(bulk_part(bytes));
  if (bulk > 0) BulkStore::copy(stage, to, bulk);
  copy_bytes(to, stage, bulk, bytes);
}

// Waits until the last of `loads` into places that take turns are complete.
template <int kPlaces>
__device__ void drain(std::uint64_t (&full)[kPlaces], std::uint32_t loads) {
  for (std::uint32_t n = loads > kPlaces ? loads - kPlaces : 0; n < loads; ++n) {
    const Turn<kPlaces> turn(n);
    wait_phase(full[turn.place], turn.use);
  }
}

__device__ void load_own(const Block& block, FaultLatch& latch) {
  const RingParams& params = block.params;
  Shared& shared = block.shared;
  LaneWait data = block.lanes.wait_data(params, &shared.data);
  std::uint32_t loads = 0;
  for_each_step(params, block.index, [&](const RoundStep& at) {
    if (!pass_fault_point(params, at, latch)) return false;
    if (!at.moves()) return true;
    const std::byte* vector = at.forwards() ? params.output : params.input;
    for (int index = 0; index < at.pieces; ++index, ++loads) {
      const Item item = at.item(index);
      const Turn<kStages> turn(loads);
      if (turn.use > 0 && !wait_phase(shared.empty[turn.place], turn.use - 1, latch)) return false;
      const std::int64_t begun = block.log.now();
      if (at.forwards() && !data.reach(item.before.received, at.position, latch)) return false;
      if (block.log.on()) shared.own_times[turn.place] = {begun, block.log.now()};
      load(shared.full[turn.place], block.stage(turn.place), vector + item.offset, item.bytes);
    }
    return true;
  });
  drain(shared.full, loads);
}

__device__ void load_partials(const Block& block, FaultLatch& latch) {
  Shared& shared = block.shared;
  LaneWait data = block.lanes.wait_data(block.params, &shared.data);
  std::uint32_t loads = 0;
  for_each_step(block.params, block.index, [&](const RoundStep& at) {
    if (!at.reduces()) return true;
    for (int index = 0; index < at.pieces; ++index, ++loads) {
      const Item item = at.item(index);
      const Turn<kPartials> turn(loads);
      if (turn.use > 0 && !wait_phase(shared.summed[turn.place], turn.use - 1, latch)) return false;
      const std::int64_t begun = block.log.now();
      if (!data.reach(item.before.received, at.position, latch)) return false;
      if (block.log.on()) shared.partial_times[turn.place] = {begun, block.log.now()};
      load(shared.loaded[turn.place], block.partial(turn.place),
           block.slots_here.at(item.slot_read), item.bytes);
    }
    return true;
  });
  drain(shared.loaded, loads);
}

// own = combine(partial, own) by one warp. Vectors are loaded several at a time, as each load takes
// long; whole batches are summed, as past the piece's end lies room.
template <class Combine>
__device__ void reduce(std::byte* own, const std::byte* partial, int bytes, Combine combine) {
  using T = typename Combine::type;
  constexpr int kElements = static_cast<int>(16 / sizeof(T));
  union Vector {
    uint4 whole;
    T elements[kElements];
    __device__ Vector() {}
  };
  const auto* from = reinterpret_cast<const uint4*>(partial) + threadIdx.x % 32;
  auto* to = reinterpret_cast<uint4*>(own) + threadIdx.x % 32;
  for (int begin = 0; begin < bytes; begin += kBatch * 32 * 16) {
    Vector a[kBatch];
    Vector b[kBatch];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) a[k].whole = from[k * 32];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) b[k].whole = to[k * 32];
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        b[k].elements[e] = combine(a[k].elements[e], b[k].elements[e]);
      }
      to[k * 32] = b[k].whole;
    }
    from += kBatch * 32;
    to += kBatch * 32;
  }
}

// May the piece in the stage be summed, or stored as it is? False: the block leaves.
__device__ bool wait_piece(const Block& block, const RoundStep& at, const Item& item, int stage,
                           const FaultLatch& latch) {
  Shared& shared = block.shared;
  bool loaded = wait_phase(shared.full[stage], Turn<kStages>(item.before.moved).use, latch);
  if (loaded && at.reduces()) {
    // Who waits for a phase must have seen the one before end (an mbarrier tells odd from even);
    // the partial's use before this one is another worker's.
    const Turn<kPartials> turn(item.before.slots_read);
    loaded = (turn.use == 0 || wait_phase(shared.summed[turn.place], turn.use - 1, latch)) &&
             wait_phase(shared.loaded[turn.place], turn.use, latch);
  }
  return __all_sync(~0U, loaded) != 0;
}

// Sums the piece in the stage, all threads of the worker.
__device__ void sum_piece(const Block& block, const RoundStep& at, const Item& item, int stage) {
  const RingParams& params = block.params;
  Shared& shared = block.shared;
  const Turn<kPartials> turn(item.before.slots_read);
  // sync(cuda-taken): release - publishes that the slot was read; pairs with acquire in publish_all
  if (threadIdx.x % 32 == 0) ptx::st_release_cta(&shared.taken[turn.place], turn.use + 1);
  with_combine(params.dtype, params.op, at.step.last_sum, params.world.value(), [&](auto combine) {
    reduce(block.stage(stage), block.partial(turn.place), item.bytes, combine);
  });
  ptx::fence_proxy_async_shared();
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(shared.summed[turn.place]);
}

__device__ void store_piece(const Block& block, const RoundStep& at, const Item& item, int stage) {
  const RingParams& params = block.params;
  const std::byte* from = block.stage(stage);
  if (at.to_slot()) store(block.slots_there.at(item.slot_pushed), from, item.bytes);
  if (at.to_output()) store(params.next_output + item.offset, from, item.bytes);
  if (at.step.keep) store(params.output + item.offset, from, item.bytes);
  ptx::bulk_commit_group();
}

// One thread; false: the block leaves.
__device__ bool send_piece(const Block& block, const RoundStep& at, const Item& item, int stage,
                           LaneWait& credit, FaultLatch& latch) {
  Shared& shared = block.shared;
  if (at.to_slot() && item.before.slots_pushed >= at.slots &&
      !credit.reach(item.before.slots_pushed + 1 - at.slots, at.position, latch)) {
    return false;
  }
  store_piece(block, at, item, stage);
  ptx::bulk_wait_group_read();
  arrive(shared.empty[stage]);
  ptx::bulk_wait_group();
  // sync(cuda-stored): release - publishes that the piece is written; pairs with acquire in
  // publish_all
  ptx::st_release_cta(&shared.stored[stage], Turn<kStages>(item.before.moved).use + 1);
  return true;
}

// One thread. The publisher signals a piece as soon as it sees that it is stored, so that is when
// it was moved and signalled both; loading and the wait for a free slot are part of moving.
__device__ void record(const Block& block, const RoundStep& at, const Item& item, int index,
                       const LoadTimes& times) {
  fabric::ChunkRecord record = chunk_record(block.params, at, item, index, block.index);
  record.t_wait = times.begun;
  record.t_ready = at.waits() ? times.ready : times.begun;
  record.t_moved = record.t_signal = block.log.now();
  block.log.put(item.before.moved, record);
}

__device__ void work(const Block& block, int stage, FaultLatch& latch) {
  LaneWait credit = block.lanes.wait_credit(block.params, &block.shared.credit);
  for_each_step(block.params, block.index, [&](const RoundStep& at) {
    if (!at.moves()) return true;
    const int first = (kStages + stage - Turn<kStages>(at.before.moved).place) % kStages;
    for (int index = first; index < at.pieces; index += kStages) {
      const Item item = at.item(index);
      if (!wait_piece(block, at, item, stage, latch)) return false;
      LoadTimes times{};  // read before the places are given back
      if (block.log.on()) {
        const int partial = Turn<kPartials>(item.before.slots_read).place;
        times = at.reduces() ? block.shared.partial_times[partial] : block.shared.own_times[stage];
      }
      if (at.reduces()) sum_piece(block, at, item, stage);
      const bool sent = threadIdx.x % 32 != 0 || send_piece(block, at, item, stage, credit, latch);
      if (!__all_sync(~0U, sent)) return false;
      if (block.log.on() && threadIdx.x % 32 == 0) record(block, at, item, index, times);
    }
    return true;
  });
}

// Counts of this operation as far as the peers may know them.
struct Published {
  std::uint32_t data = 0;
  std::uint32_t credit = 0;
};

// How many are done, in order, of what takes turns in these places: at least `known`.
template <int kPlaces>
__device__ std::uint32_t count(const std::uint32_t (&done)[kPlaces], std::uint32_t known) {
  while (ptx::ld_acquire_cta(&done[known % kPlaces]) > known / kPlaces) ++known;
  return known;
}

// Publishes whatever is new, with one fence for all of it; false: nothing is.
__device__ bool publish_all(const Block& block, Published& published) {
  Published now = published;
  // sync(cuda-stored): acquire - pairs with release in send_piece
  now.data = count(block.shared.stored, now.data);
  // sync(cuda-taken): acquire - pairs with release in sum_piece
  now.credit = count(block.shared.taken, now.credit);
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
__device__ void publish(const Block& block, const Counts& end, FaultLatch& latch) {
  block.log.begin();
  fabric::WaitLimits limits = block.params.limits;
  limits.timeout_ns *= 2;
  limits.abort_flag = nullptr;
  FaultLatch watchdog(&block.shared.left, block.params.records + block.index, limits);
  Published published;
  watchdog.begin_wait();
  while (published.data != end.moved || published.credit != end.slots_read) {
    if (latch.left()) return;
    if (publish_all(block, published)) {
      watchdog.stop_clock();
      watchdog.begin_wait();
      continue;
    }
    const fabric::Outcome verdict = watchdog.verdict();
    if (verdict != fabric::Outcome::ok) {
      const int rank = block.params.rank.value();
      latch.leave(verdict, fabric::Awaited::data, rank, -1, -1, end.moved, published.data);
    }
  }
  block.lanes.finish(block.params, end, latch);
  if (!latch.left()) block.log.end(end.moved, block.params.limits.operation, block.index);
}

// The roles that talk to the peers.
__device__ void speak(const Block& block, int warp, FaultLatch& latch) {
  const RingParams& params = block.params;
  const fabric::LaneProgress& start = block.lanes.start;
  const Counts end = for_each_step(params, block.index, [](const RoundStep&) { return true; });
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
    Barrier::init(&shared.empty[i], 1);
    shared.stored[i] = 0;
  }
  for (int i = 0; i < kPartials; ++i) {
    Barrier::init(&shared.loaded[i], 1);
    Barrier::init(&shared.summed[i], 1);
    shared.taken[i] = 0;
  }
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
  fabric::cuda::BlockLog log(params.chunks, index);
  const Block block{params,
                    shared,
                    stages,
                    index,
                    Slots(params, params.arena, index),
                    Slots(params, params.next_arena, index),
                    log,
                    lanes};
  if (warp < kStages) {
    work(block, warp, latch);
  } else if (threadIdx.x % 32 != 0) {
    return;
  } else if (warp == kOwnLoaderWarp) {
    load_own(block, latch);
  } else if (warp == kPartialLoaderWarp) {
    load_partials(block, latch);
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

Kernel ring_kernel() { return {reinterpret_cast<const void*>(&run), kThreads, kSharedBytes}; }

}  // namespace weft::collectives::cuda
