// The step kernel: see steps.h, and executor/sim/executor.cc, whose twin it is.
//
//   fault point   once a step
//   wait          one thread a peer: its piece is there, the slot for the next push is free
//   move          all threads: reduce or copy the piece to own output, a slot or a peer's output
//   tell          one thread a peer: your slot has been read (credit), a piece is there (data)
//
// Invariants
//   1. All threads walk the same pieces. A lane's counts belong to the thread of its peer, in the
//      first warp; from those of slots that warp works out the next piece's addresses, once the
//      last piece has moved, and the barrier after the waits shows them to the block.
//   2. What a peer wrote is read by plain or streaming loads (never .nc) that come after the
//      barrier behind that thread's acquire; what the block wrote, and the slots that it read, come
//      before the barrier ahead of that thread's release. Barriers and system-wide pairs add up:
//      the memory model calls it cumulativity.
//   3. Whether the block leaves is decided in a barrier, by all threads alike.
#include "collectives/executor/cuda/phase.cuh"
#include "collectives/executor/cuda/rank_order.cuh"
#include "collectives/executor/cuda/steps.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;
using fabric::cuda::LaneWait;

constexpr int kThreads = 512;
constexpr int kUnroll = 2;  // a piece is two packs a thread
static_assert(kStepPieceBytes == kUnroll * kThreads * kPackBytes);

// Where the elements of the piece under way come from, in the order of their sum, and go to.
struct Flow {
  const std::byte* sources[kMaxCudaRanks];
  std::byte* targets[2];
};

struct Shared {
  Flow flow;
  std::uint32_t left;  // FaultLatch
  // By peer, of this operation.
  std::uint32_t slots_read[kMaxCudaRanks];
  std::uint32_t slots_pushed[kMaxCudaRanks];
};

// One thread's lanes to and from one peer of its block. Threads below `world`, but for the rank's
// own number, have one.
class PeerLane {
 public:
  __device__ PeerLane(const StepsParams& params, Shared& shared, int block)
      : params_(params), shared_(shared), peer_(static_cast<int>(threadIdx.x)) {
    if (peer_ >= params.program.world || peer_ == params.rank) return;
    std::byte* const* arenas = params.arenas;
    mine_ = fabric::cuda::signals(arenas[params.rank], params.layout, block, peer_);
    theirs_ = fabric::cuda::signals(arenas[peer_], params.layout, block, params.rank);
    progress_ = fabric::cuda::progress(arenas[params.rank], params.layout, block, peer_);
    start_ = *progress_;
  }

  // What the piece reads has arrived, and the slot that it goes to is free; false: the block
  // leaves.
  __device__ bool wait(const schedule::Step& step, int position, FaultLatch& latch) {
    if (!progress_) return true;
    if (params_.program.awaits(step, peer_) && !receive(position, latch)) return false;
    const auto slots = static_cast<std::uint32_t>(params_.tiling.slots);
    const bool takes = step.target == schedule::Target::slot && step.to.value() == peer_;
    return !takes || slots_pushed_ < slots || credit(slots_pushed_ + 1 - slots, position, latch);
  }

  // After the piece.
  __device__ void tell(const schedule::Step& step) {
    if (!progress_) return;
    if ((step.reads_slot() || step.reads_slots()) && params_.program.awaits(step, peer_)) {
      shared_.slots_read[peer_] = ++slots_read_;
      fabric::cuda::publish(&theirs_->credit, start_.slots_read + slots_read_);
    }
    if (step.target == schedule::Target::none || step.to.value() != peer_) return;
    if (step.target == schedule::Target::slot) shared_.slots_pushed[peer_] = ++slots_pushed_;
    signal();
  }

  // All credits are in, and all ranks have come as far if they are to meet.
  __device__ bool close(FaultLatch& latch) {
    if (!progress_) return true;
    const int position = params_.program.count;
    if (params_.meets) signal();
    if (params_.meets && !receive(position, latch)) return false;
    return credit(slots_pushed_, position, latch);
  }

  // For the next operation.
  __device__ void carry_over() const {
    if (!progress_) return;
    progress_->received = start_.received + received_;
    progress_->sent = start_.sent + sent_;
    progress_->slots_read = start_.slots_read + slots_read_;
    progress_->slots_pushed = start_.slots_pushed + slots_pushed_;
  }

 private:
  __device__ void signal() { fabric::cuda::publish(&theirs_->data, start_.sent + ++sent_); }
  __device__ bool receive(int position, FaultLatch& latch) {
    LaneWait wait(&mine_->data, start_.received, false, fabric::Awaited::data, params_.rank, peer_);
    latch.stop_clock();
    return wait.reach(++received_, position, latch);
  }
  __device__ bool credit(std::uint32_t count, int position, FaultLatch& latch) {
    if (count == 0) return true;
    LaneWait wait(&mine_->credit, start_.slots_pushed, false, fabric::Awaited::credit, params_.rank,
                  peer_);
    latch.stop_clock();
    return wait.reach(count, position, latch);
  }

  const StepsParams& params_;
  Shared& shared_;
  int peer_;
  fabric::LaneSignals* mine_ = nullptr;       // written by the peer
  fabric::LaneSignals* theirs_ = nullptr;     // written by this rank
  fabric::LaneProgress* progress_ = nullptr;  // null: this thread has no peer
  fabric::LaneProgress start_{};
  std::uint32_t received_ = 0, sent_ = 0, slots_read_ = 0, slots_pushed_ = 0;
};

// Warp 0, all of it, before the barrier that lets the piece move.
__device__ void lay_out(const StepPiece& piece, Flow& flow) {
  if (threadIdx.x >= 32) return;
  __syncwarp();  // the lanes' counts are shown
  if (!piece.moves()) return;
  const int self = static_cast<int>(threadIdx.x);
  if (self < piece.sources()) flow.sources[self] = piece.source(self);
  if (self < piece.targets()) flow.targets[self] = piece.target(self);
}

// A piece as the block moves it, in three parts: `head` bytes before its addresses are multiples of
// 16, then packs, then the rest. All is head where the addresses do not line up.
struct Moved {
  const Flow& flow;
  int sources;
  int targets;
  std::int64_t bytes;
  std::int64_t head;

  __device__ Moved(const StepPiece& piece, const Flow& laid_out)
      : flow(laid_out),
        sources(piece.sources()),
        targets(piece.targets()),
        bytes(piece.bytes()),
        head(piece.bytes()) {
    const std::uintptr_t first = residue(flow.sources[0]);
    bool line_up = true;
#pragma unroll 1
    for (int i = 1; i < sources; ++i) line_up = line_up && residue(flow.sources[i]) == first;
#pragma unroll 1
    for (int i = 0; i < targets; ++i) line_up = line_up && residue(flow.targets[i]) == first;
    if (line_up) head = min(bytes, static_cast<std::int64_t>((kPackBytes - first) % kPackBytes));
  }
  static __device__ std::uintptr_t residue(const std::byte* at) {
    return reinterpret_cast<std::uintptr_t>(at) % kPackBytes;
  }

  __device__ Share packs(int pack_bytes) const {
    return {threadIdx.x, kThreads, (bytes - head) / pack_bytes};
  }
  // Calls body(skipped bytes, share of the units) for what are no packs. It is large: in a loop.
  template <class Body>
  __device__ void beside_packs(int pack_bytes, int unit, const Body& body) const {
    const std::int64_t tail = bytes - (bytes - head) % pack_bytes;
#pragma unroll 1
    for (int end = 0; end < 2; ++end) {
      const std::int64_t skip = end == 0 ? 0 : tail;
      const std::int64_t size = end == 0 ? head : bytes - tail;
      body(skip, Share{threadIdx.x, kThreads, size / unit});
    }
  }
};

// A function of its own for each dtype and op: in one, their registers would not suffice.
template <class Reduction>
__device__ __noinline__ void reduce(const Reduction& reduction, const Moved& moved) {
  using T = typename Reduction::type;
  const Flow& flow = moved.flow;
  const std::int64_t head = moved.head;
  reduce_many<kUnroll>(
      reduction, moved.sources, [&](int r) { return flow.sources[r] + head; }, moved.targets,
      [&](int t) { return flow.targets[t] + head; }, moved.packs(Pack<T>::kBytes));
  moved.beside_packs(Pack<T>::kBytes, sizeof(T), [&](std::int64_t skip, const Share& rest) {
    reduce_elements(
        reduction, moved.sources, [&](int r) { return flow.sources[r] + skip; }, moved.targets,
        [&](int t) { return flow.targets[t] + skip; }, rest);
  });
}

__device__ void copy(DType dtype, const Moved& moved) {
  const Flow& flow = moved.flow;
  copy_packs<kUnroll>(
      flow.sources[0] + moved.head, moved.targets,
      [&](int t) { return flow.targets[t] + moved.head; }, moved.packs(kPackBytes));
  const auto by = [&](auto unit) {
    moved.beside_packs(kPackBytes, sizeof(unit), [&](std::int64_t skip, const Share& rest) {
      copy_units<decltype(unit)>(
          flow.sources[0] + skip, moved.targets, [&](int t) { return flow.targets[t] + skip; },
          rest);
    });
  };
  const std::int64_t item = item_bytes(dtype);
  if (item == 8) return by(std::uint64_t{});
  if (item == 4) return by(std::uint32_t{});
  if (item == 2) return by(std::uint16_t{});
  by(std::uint8_t{});
}

__device__ void move(const StepPiece& piece, const Flow& flow) {
  const StepsParams& params = piece.params;
  const Moved moved(piece, flow);
  if (moved.sources == 1) return copy(params.dtype, moved);
  with_rank_order(params.dtype, piece.op(), params.program.world,
                  [&](auto reduction) { reduce(reduction, moved); });
}

// One step's pieces of a round; false: the block leaves.
__device__ bool run_step(const StepsParams& params, Shared& shared, PeerLane& lane, int round,
                         int position, FaultLatch& latch) {
  if (round == 0 && !fault_at(params, position, latch)) return false;
  const schedule::Step step = params.program.steps[position];
  for (int index = 0; index < params.tiling.pieces; ++index) {
    const StepPiece piece(params, step, shared.slots_read, shared.slots_pushed,
                          static_cast<int>(blockIdx.x), round, index);
    lay_out(piece, shared.flow);
    if (!__syncthreads_and(lane.wait(step, position, latch))) return false;
    if (piece.moves()) {
      move(piece, shared.flow);
      __syncthreads();
    }
    lane.tell(step);
  }
  return true;
}

__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ StepsParams params) {
  __shared__ Shared shared;
  const int block = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) shared.left = 0;
  if (threadIdx.x < kMaxCudaRanks) {
    shared.slots_read[threadIdx.x] = shared.slots_pushed[threadIdx.x] = 0;
  }
  std::uint32_t* left_word =
      fabric::cuda::left_word(params.arenas[params.rank], params.layout, block);
  FaultLatch latch(&shared.left, params.records + block, params.limits, left_word);
  PeerLane lane(params, shared, block);
  if (!fabric::cuda::begin_block(left_word)) return;
  for (int round = 0; round < params.tiling.rounds; ++round) {
    for (int position = 0; position < params.program.count; ++position) {
      if (!run_step(params, shared, lane, round, position, latch)) return;
    }
  }
  if (__syncthreads_and(lane.close(latch))) lane.carry_over();
}

}  // namespace

Kernel steps_kernel() { return {reinterpret_cast<const void*>(&run), kThreads, 0}; }

}  // namespace weft::collectives::cuda
