// What the two flagged families share: LL (ll.h) and Lamport (lamport.h). Plain C++.
//
// In both a rank pushes its data into regions of its peers' scratch, and every piece of data tells
// by itself that it has arrived: no signal, no fence, no barrier. Each region has two parities, its
// halves, whatever an operation keeps in them; an operation uses the one that its epoch says.
//
// Invariants (E: an operation of the family; e, e + 1, ...: its successors in that family)
//   1. In every operation every rank sends at least one line to every peer, and ends only when it
//      has received every line that any peer sends it in that operation.
//   2. So, when a rank's kernel for E has ended, nobody will write to what E used of its scratch
//      until e + 2 of that peer: all that E's peers write there has been seen.
//   3. A peer's kernel for e + 2 starts after its kernel for e + 1 ended (kernels of a rank follow
//      each other in stream order, none starts before the one before has ended and its writes are
//      done: no programmatic dependent launch here). That one has received a line that this rank
//      sent from its own kernel for e + 1, which started after its kernel for E ended, resets of
//      lines included. So two parities are enough, whatever the sizes and grids of the operations.
//   4. A rank's input is read and its output written by its own kernel alone. Both are its
//      caller's again when the kernel ends; and an element is read before it is written, by the
//      same thread: in place is safe.
//   5. From 2 and 4: when a rank's kernel ends, the next operation of any family may start on its
//      stream. What its peers still do for E touches only their own memory.
//   6. Epochs advance on the device, one word a block; a launch advances the words of all blocks
//      (block b those of b, b + grid, ...), so grids may change between operations. The rank's
//      words are equal between operations, and every rank's are the same. 0 is never an epoch (it
//      is what cleared lines carry), and after 2^32 - 1 comes 2, so that parities alternate.
//   7. A fault leaves words and regions in any state: recover() sets them back
//      (cuda_prepare_scratch()).
#pragma once

#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/scratch.h"
#include "collectives/plan.h"
#include "core/base/types.h"
#include "core/device/device.h"
#include "fabric/fabric.h"
#include "fabric/signal.h"

namespace weft::collectives::cuda {

// One rank's view of the operation; the kernels' only parameter.
struct FlaggedParams {
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::byte* regions[kMaxCudaRanks] = {};  // of the family, by rank
  std::uint32_t* epochs = nullptr;         // this rank's, by block
  fabric::FaultRecord* records = nullptr;  // likewise
  fabric::WaitLimits limits{};
  FaultPoint fault{};
  std::int64_t bytes = 0;         // of the vector
  std::int64_t parity_lines = 0;  // lines of a parity of the region
  std::int64_t source_lines = 0;  // of them those of one source and part
  std::int32_t blocks = 0;        // words in `epochs`
  std::int32_t rank = 0;
  std::int32_t world = 0;
};
static_assert(std::is_trivially_copyable_v<FlaggedParams> && sizeof(FlaggedParams) <= 4000);

// What a Work of these families holds. The plan outlives the work.
struct FlaggedCall {
  const fabric::Fabric* fabric = nullptr;
  const Plan* plan = nullptr;
  Rank rank{};
};

std::int64_t vector_bytes(const Plan& plan);
// `parts`: of what each source sends to one region; two-shot has pieces and results.
FlaggedParams flagged_params(const FlaggedCall& call, FlaggedFamily family, const Region& region,
                             std::int64_t parts = 1);

}  // namespace weft::collectives::cuda
