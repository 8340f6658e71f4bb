// A checked, fully prepared collective: all that an executor needs to run it, as plain data.
//
// The path of every call: validate -> stage -> select -> cut -> prepare all ranks -> launch all
// ranks.
// What all collectives share is in plan.cc; what is particular stands in one file a collective.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "collectives/schedule/lanes.h"
#include "collectives/schedule/tiling.h"
#include "core/base/types.h"
#include "core/tensor/dtype.h"
#include "fabric/chunk_log.h"
#include "fabric/signal.h"

namespace weft::collectives {

class Bucket;

enum class Collective : std::uint8_t {
  all_reduce,
  reduce_scatter,
  all_gather,
  broadcast,
  reduce,
  all_to_all,
  scatter,
  gather,
  send_recv
};
enum class ReduceOp : std::uint8_t { sum, avg, min, max, prod };
enum class Algorithm : std::uint8_t {
  automatic,
  ring,
  ll,
  lamport,
  one_shot,
  one_shot_pull,
  two_shot,
  push_two_shot,
  copy_engine,
  halving_doubling,
  hierarchical
};
// How a receiver knows that data is there.
enum class Protocol : std::uint8_t { none, chunk_flags, tokens, ll, lamport, events };

inline constexpr int kMaxRanks = 64;
inline constexpr int kMaxCudaRanks = 16;

// A planned fault, for tests: when `rank` is about to begin `step`, it stops or waits.
struct FaultPoint {
  enum class Action : std::uint8_t { none, stop, delay };
  Action action = Action::none;
  std::int32_t rank = -1;
  std::int32_t step = -1;
  std::int64_t delay_ns = 0;
};

struct Plan {
  Collective collective = Collective::all_reduce;
  Algorithm algorithm = Algorithm::ring;
  Protocol protocol = Protocol::chunk_flags;
  ReduceOp op = ReduceOp::sum;
  DType dtype = DType::f32;
  Rank root{0};
  WorldSize world{1};
  schedule::Tiling tiling{};
  fabric::WaitLimits limits{};
  FaultPoint fault{};
  const schedule::Prepared* schedule = nullptr;  // lives as long as the fabric
  const fabric::ChunkLog* chunks = nullptr;      // does too; null while no trace asks for it
  std::int64_t elements = 0;                     // of the longest input or output of any rank
  schedule::ChunkMap in{};
  schedule::ChunkMap out{};
  // Contiguous, `in.elements` and `out.elements` long; input may be exactly output. Indexed by
  // rank; null where a rank gives or gets nothing.
  std::array<const void*, kMaxRanks> inputs{};
  std::array<void*, kMaxRanks> outputs{};
  // Instead of them, where each rank has several tensors; the operation keeps it.
  Bucket* bucket = nullptr;

  // Where the rank's pieces are recorded; may be nowhere.
  fabric::ChunkLogView chunk_log(Rank rank) const {
    return chunks ? chunks->view(rank) : fabric::ChunkLogView{};
  }
  const schedule::Program& program(Rank rank) const {
    return schedule->schedule.programs[static_cast<std::size_t>(rank.value())];
  }
};

// The elements that one rank's step moves or adds up, in the chunk that it reads.
constexpr schedule::Range source_range(const schedule::ChunkMap& in, const schedule::ChunkMap& out,
                                       Rank rank, const schedule::Step& step) {
  if (step.source == schedule::Source::none) return {};
  if (step.source == schedule::Source::slot) {
    return out.chunk(rank.value(), step.out_chunk().value());
  }
  const schedule::ChunkMap& map = step.reads_output() ? out : in;
  return map.chunk(rank.value(), step.chunk.value());
}
inline schedule::Range source_range(const Plan& plan, Rank rank, const schedule::Step& step) {
  return source_range(plan.in, plan.out, rank, step);
}

// Do the ranks meet at the end, by a token from everyone to everyone? A rank that goes on pushes
// into slots of the next operation, which may be others' slots of this one, and these must have
// been read. In an all_reduce they have: it ends with results, or credits, that come after every
// rank's last read of a slot. Elsewhere a rank's part may be done while its peers' are not.
inline bool meets_at_end(const Plan& plan) {
  return plan.schedule->slot_lanes > 0 && plan.collective != Collective::all_reduce;
}

}  // namespace weft::collectives
