// Proves that a schedule keeps a collective's contract, or names the place where it does not.
//
// The model: each rank runs its steps in order, and each step's pieces in order. One piece is one
// event; in it a rank, in this order, waits for the data it names, waits for a free slot, reads,
// reduces, keeps, pushes, and frees the slot that it read. Each pair of ranks has a lane: pushes
// arrive in order. Push number k into the slots of a lane goes to slot k mod `slots` and first
// waits for credit k - slots + 1, that is, until the receiver has read push k - slots. A token is a
// push without data; a pull reads the inputs of peers where they lie.
//
// What is proven
//   1. Every rank's output holds, for every chunk and piece, what the contract says: of a sum,
//   every
//      rank's contribution exactly once. Sums are symbols: who was added to what, in which order.
//      Outputs of which the contract says nothing are not written.
//   2. Nothing is overwritten before its last read, and nothing is read before it was written: any
//      two accesses of one place, one of them a write, are ordered by happens-before (vector clocks
//      over program order, pushes, tokens and credits). So what holds in one run holds in every
//      run. In place, input and output are the same memory, and both readings of it are checked.
//   3. No deadlock with the given slots. Ranks are sequential processes that block on one lane at a
//      time, and nobody tests whether a lane is empty: a Kahn network, with bounded lanes because a
//      credit is itself a message on a lane of the opposite direction. Such networks are confluent:
//      all maximal runs do the same events. So one greedy run that ends decides for all of them.
//   4. Every push is received, and received as what it is: token, slot or output, chunk and piece.
//      Since every slot that is received is also read and freed, all credits are back at the end.
//   5. All ranks add up a chunk in the same order, so that they get the same bits.
//   6. `last_sum` marks the reduction that completes a chunk, and no other; only what the contract
//      says is pushed into a peer's output.
//   7. A rank's own memory is touched by peers only after it began and before it ends: what comes
//      before and after on its stream is safe.
//
// What is not modelled: that an executor does what the model does. It may overlap pieces, and free
// a slot earlier, as long as reads and writes keep the order of the events.
#pragma once

#include <optional>
#include <string>

#include "collectives/schedule/contract.h"
#include "collectives/schedule/schedule.h"

namespace weft::schedule {

struct VerifyOptions {
  int pieces = 1;         // a step
  int slots = 2;          // a lane
  bool in_place = false;  // input and output are the same memory, chunk by chunk
};

// Nothing if proven; else one sentence that names rank, step, piece and what is wrong.
std::optional<std::string> verify(const Schedule& schedule, const Contract& contract,
                                  VerifyOptions options);
// The same, with the contract of an all-reduce.
std::optional<std::string> verify_all_reduce(const Schedule& schedule, VerifyOptions options);

}  // namespace weft::schedule
