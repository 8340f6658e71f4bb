// What both ring kernels share: the walk over a rank's pieces, in the order of the protocol.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/ring.h"
#include "collectives/executor/cuda/scratch.h"
#include "collectives/schedule/ring.h"
#include "fabric/cuda/signal.cuh"

namespace weft::collectives::cuda {

// One piece of one step, with the lane's counts before it (`received`: including it).
struct Item {
  schedule::Step step{};
  int position = 0;  // of the step in the rank's schedule
  int round = 0;
  int index = 0;             // of the piece in the step
  std::uint32_t number = 0;  // pieces moved before: those that are not only waited for
  std::uint32_t received = 0;
  std::uint32_t slots_read = 0;
  std::uint32_t slots_pushed = 0;

  // The last step of a ring only waits: nothing passes through the rank.
  __device__ bool moves() const { return step.target != schedule::Target::none || step.keep; }
  __device__ bool reduces() const { return step.source == schedule::Source::input_plus_slot; }
  __device__ bool waits() const { return step.from != schedule::kNobody; }
};

// Where an item lies.
struct Place {
  std::int64_t offset = 0;  // bytes from the vector's start
  std::int32_t bytes = 0;
};

__device__ inline Place place(const RingParams& params, int block, const Item& item) {
  const schedule::Range range =
      params.tiling.piece(item.step.chunk.value(), block, item.round, item.index);
  const std::int64_t size = item_bytes(params.dtype);
  return {range.begin * size, static_cast<std::int32_t>(range.size() * size)};
}

// Slot of a rank's arena for the `count`-th push of an operation. All ranks count from the
// operation's start: between operations every slot is free.
__device__ inline std::byte* slot(const RingParams& params, std::byte* arena, int block,
                                  std::uint32_t count) {
  const schedule::Tiling& tiling = params.tiling;
  const std::int64_t number =
      static_cast<std::int64_t>(block) * tiling.slots + count % tiling.slots;
  return arena + params.layout.scratch_offset() + slots_region(params.layout).offset +
         number * tiling.piece_elements * item_bytes(params.dtype);
}

// Visits every item in order until `visit` returns false. Returns the counts at the end.
template <class Visit>
__device__ Item for_each_item(const RingParams& params, Visit visit) {
  Item item;
  const int steps = schedule::ring::step_count(params.world);
  for (int round = 0; round < params.tiling.rounds; ++round) {
    item.round = round;
    for (int position = 0; position < steps; ++position) {
      item.position = position;
      item.step = schedule::ring::step(params.world, params.rank, position);
      for (int index = 0; index < params.tiling.pieces; ++index) {
        item.index = index;
        if (item.waits()) ++item.received;
        if (!visit(item)) return item;
        if (item.moves()) ++item.number;
        if (item.reduces()) ++item.slots_read;
        if (item.step.target == schedule::Target::slot) ++item.slots_pushed;
      }
    }
  }
  return item;
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
  __device__ void finish(const RingParams& params, const Item& end,
                         fabric::cuda::FaultLatch& latch) const {
    const int last = schedule::ring::step_count(params.world) - 1;
    if (!wait_data(params).reach(end.received, last, latch)) return;
    if (!wait_credit(params).reach(end.slots_pushed, last, latch)) return;
    from->received = start.received + end.received;
    from->slots_read = start.slots_read + end.slots_read;
    to->sent = start.sent + end.number;
    to->slots_pushed = start.slots_pushed + end.slots_pushed;
  }
};

// A planned fault at this item? Then it happens here; false: the block leaves. One thread a block.
__device__ inline bool pass_fault_point(const RingParams& params, const Item& item,
                                        fabric::cuda::FaultLatch& latch) {
  const FaultPoint& fault = params.fault;
  if (fault.action == FaultPoint::Action::none || fault.rank != params.rank.value() ||
      fault.step != item.position || item.round != 0 || item.index != 0) {
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
  latch.leave(outcome, fabric::Awaited::data, fault.rank, item.position, -1, 0, 0);
  return false;
}

}  // namespace weft::collectives::cuda
