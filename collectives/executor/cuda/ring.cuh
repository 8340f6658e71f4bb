// What both ring kernels share: the walk over a rank's steps, in the order of the protocol.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/ring.h"
#include "collectives/executor/cuda/scratch.h"
#include "collectives/schedule/ring.h"
#include "fabric/cuda/chunk_log.cuh"
#include "fabric/cuda/signal.cuh"

namespace weft::collectives::cuda {

// How far a block is in the operation: in pieces.
struct Counts {
  std::uint32_t moved = 0;  // all but those that are only waited for
  std::uint32_t received = 0;
  std::uint32_t slots_read = 0;
  std::uint32_t slots_pushed = 0;
};

// One piece of one step.
struct Item {
  Counts before;           // but `received` counts it too, if it is waited for
  std::int32_t slot_read;  // the block's slots that it is read from and pushed to, if it is
  std::int32_t slot_pushed;
  std::int64_t offset;  // bytes from the vector's start
  std::int32_t bytes;
};

// One step of one round: `pieces` items.
struct RoundStep {
  schedule::Step step{};
  int position = 0;  // in the rank's schedule
  int round = 0;
  int pieces = 0;
  Counts before;
  std::uint32_t slots = 0;  // of the block
  std::int64_t begin = 0;   // bytes from the vector's start: of the first piece,
  std::int64_t stride = 0;  // from one piece to the next,
  std::int64_t end = 0;     // and of the end of the chunk
  std::int64_t piece = 0;   // bytes, at most

  // The last step of a ring only waits: nothing passes through the rank.
  __device__ bool moves() const { return step.target != schedule::Target::none || step.keep; }
  __device__ bool waits() const { return step.from != schedule::kNobody; }
  __device__ bool reduces() const { return step.source == schedule::Source::input_plus_slot; }
  __device__ bool forwards() const { return step.source == schedule::Source::output; }
  __device__ bool to_slot() const { return step.target == schedule::Target::slot; }
  __device__ bool to_output() const { return step.target == schedule::Target::output; }

  // Slots are taken in turn, by who pushes and who reads alike: all ranks count from the
  // operation's start, when every slot is free. A step never wraps: `slots` is a multiple of
  // `pieces` (schedule/tiling.h).
  __device__ Item item(int index) const {
    const auto i = static_cast<std::uint32_t>(index);
    Item item;
    item.before = {before.moved + i, before.received + (waits() ? i + 1 : 0), before.slots_read + i,
                   before.slots_pushed + i};
    item.slot_read = static_cast<std::int32_t>(before.slots_read % slots + i);
    item.slot_pushed = static_cast<std::int32_t>(before.slots_pushed % slots + i);
    item.offset = min(begin + index * stride, end);
    item.bytes = static_cast<std::int32_t>(min(piece, end - item.offset));
    return item;
  }

  __device__ Counts after() const {
    const auto all = static_cast<std::uint32_t>(pieces);
    return {before.moved + (moves() ? all : 0), before.received + (waits() ? all : 0),
            before.slots_read + (reduces() ? all : 0), before.slots_pushed + (to_slot() ? all : 0)};
  }
};

// A block's slots in a rank's arena.
struct Slots {
  std::byte* first;
  std::int64_t bytes;  // of each

  __device__ Slots(const RingParams& params, std::byte* arena, int block)
      : first(arena + params.layout.scratch_offset() + slots_region(params.layout).offset),
        bytes(params.tiling.piece_elements * item_bytes(params.dtype)) {
    first += block * params.tiling.slots * bytes;
  }
  __device__ std::byte* at(int number) const { return first + number * bytes; }
};

// Visits every step of every round of a block in order until `visit` returns false. Returns the
// counts at the end. Few blocks move as much as the threads that walk here can ask for: what can be
// reckoned once a step, is.
template <class Visit>
__device__ Counts for_each_step(const RingParams& params, int block, Visit visit) {
  const schedule::Tiling& tiling = params.tiling;
  const std::int64_t size = item_bytes(params.dtype);
  const int steps = schedule::ring::step_count(params.world);
  RoundStep at;
  at.pieces = tiling.pieces;
  at.slots = static_cast<std::uint32_t>(tiling.slots);
  at.piece = tiling.piece_elements * size;
  at.stride = at.piece * tiling.blocks;
  for (int round = 0; round < tiling.rounds; ++round) {
    for (int position = 0; position < steps; ++position) {
      at.round = round;
      at.position = position;
      at.step = schedule::ring::step(params.world, params.rank, position);
      const schedule::Range chunk = tiling.chunk(at.step.chunk.value());
      at.begin = chunk.begin * size + round * at.stride * at.pieces + block * at.piece;
      at.end = chunk.end * size;
      if (!visit(at)) return at.before;
      at.before = at.after();
    }
  }
  return at.before;
}

// The words and counts of one block: its lane from the previous rank and its lane to the next.
struct Lanes {
  std::uint32_t* data_in;      // here, written by the previous rank
  std::uint32_t* credit_in;    // here, written by the next rank
  std::uint32_t* data_out;     // at the next rank
  std::uint32_t* credit_out;   // at the previous rank
  fabric::LaneProgress* from;  // progress with the previous rank
  fabric::LaneProgress* to;    // progress with the next rank; the same one if world is 2
  fabric::LaneProgress start;  // counts at the operation's start, of both

  __device__ Lanes(const RingParams& params, int block) {
    const int world = params.world.value();
    const int rank = params.rank.value();
    const int next = (rank + 1) % world;
    const int previous = (rank + world - 1) % world;
    data_in = &fabric::cuda::signals(params.arena, params.layout, block, previous)->data;
    credit_in = &fabric::cuda::signals(params.arena, params.layout, block, next)->credit;
    data_out = &fabric::cuda::signals(params.next_arena, params.layout, block, rank)->data;
    credit_out = &fabric::cuda::signals(params.previous_arena, params.layout, block, rank)->credit;
    from = fabric::cuda::progress(params.arena, params.layout, block, previous);
    to = fabric::cuda::progress(params.arena, params.layout, block, next);
    start = {from->received, to->sent, from->slots_read, to->slots_pushed};
  }

  // Waits for the previous rank's pieces and the next rank's credits; `relayed`, if given, is the
  // word in shared memory to which relay() passes them on.
  __device__ fabric::cuda::LaneWait wait_data(const RingParams& params,
                                              const std::uint32_t* relayed = nullptr) const {
    const int world = params.world.value();
    const int rank = params.rank.value();
    return {relayed ? relayed : data_in, start.received, relayed != nullptr,
            fabric::Awaited::data,       rank,           (rank + world - 1) % world};
  }
  __device__ fabric::cuda::LaneWait wait_credit(const RingParams& params,
                                                const std::uint32_t* relayed = nullptr) const {
    const int world = params.world.value();
    const int rank = params.rank.value();
    return {relayed ? relayed : credit_in,
            start.slots_pushed,
            relayed != nullptr,
            fabric::Awaited::credit,
            rank,
            (rank + 1) % world};
  }

  // Invariant 3 of fabric/signal.h, then the counts for the next operation. One thread, once.
  __device__ void finish(const RingParams& params, const Counts& end,
                         fabric::cuda::FaultLatch& latch) const {
    const int last = schedule::ring::step_count(params.world) - 1;
    if (!wait_data(params).reach(end.received, last, latch)) return;
    if (!wait_credit(params).reach(end.slots_pushed, last, latch)) return;
    from->received = start.received + end.received;
    from->slots_read = start.slots_read + end.slots_read;
    to->sent = start.sent + end.moved;
    to->slots_pushed = start.slots_pushed + end.slots_pushed;
  }
};

// What the log says of a piece, but for its times.
__device__ inline fabric::ChunkRecord chunk_record(const RingParams& params, const RoundStep& at,
                                                   const Item& item, int index, int block) {
  fabric::ChunkRecord record;
  record.operation = static_cast<std::uint32_t>(params.limits.operation);
  record.bytes = item.bytes;
  record.round = at.round;
  if (at.waits()) record.received = item.before.received;
  if (at.step.target != schedule::Target::none) record.sent = item.before.moved + 1;
  record.rank = static_cast<std::int16_t>(params.rank.value());
  record.block = static_cast<std::int16_t>(block);
  record.step = static_cast<std::int16_t>(at.position);
  record.piece = static_cast<std::int16_t>(index);
  record.from = static_cast<std::int16_t>(at.step.from.value());
  record.to = static_cast<std::int16_t>(at.step.to.value());
  return record;
}

// A planned fault at this step? Then it happens here; false: the block leaves. One thread a block.
__device__ inline bool pass_fault_point(const RingParams& params, const RoundStep& at,
                                        fabric::cuda::FaultLatch& latch) {
  const FaultPoint& fault = params.fault;
  if (fault.action == FaultPoint::Action::none || fault.rank != params.rank.value() ||
      fault.step != at.position || at.round != 0) {
    return true;
  }
  fabric::Outcome outcome = fabric::Outcome::stopped;
  if (fault.action == FaultPoint::Action::delay) {
    const std::int64_t end = ptx::globaltimer() + fault.delay_ns;
    outcome = fabric::Outcome::ok;
    while (outcome == fabric::Outcome::ok && ptx::globaltimer() < end && !latch.left()) {
      __nanosleep(1000);
      outcome = latch.aborted();
    }
  }
  if (outcome == fabric::Outcome::ok) return !latch.left();
  latch.leave(outcome, fabric::Awaited::data, fault.rank, at.position, -1, 0, 0);
  return false;
}

}  // namespace weft::collectives::cuda
