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
  std::int64_t elements = 0;                     // of the longest input or output of any rank
  schedule::ChunkMap in{};
  schedule::ChunkMap out{};
  // Contiguous, `in.elements` and `out.elements` long; input may be exactly output. Indexed by
  // rank; null where a rank gives or gets nothing.
  std::array<const void*, kMaxRanks> inputs{};
  std::array<void*, kMaxRanks> outputs{};
  // Instead of them, where each rank has several tensors; the operation keeps it.
  Bucket* bucket = nullptr;

  const schedule::Program& program(Rank rank) const {
    return schedule->schedule.programs[static_cast<std::size_t>(rank.value())];
  }
};

// The elements that one rank's step moves or adds up, in the chunk that it reads.
inline schedule::Range source_range(const Plan& plan, Rank rank, const schedule::Step& step) {
  switch (step.source) {
    case schedule::Source::none:
      return {};
    case schedule::Source::input:
    case schedule::Source::input_plus_slot:
    case schedule::Source::slots:
    case schedule::Source::inputs:
      return plan.in.chunk(rank.value(), step.chunk.value());
    case schedule::Source::slot:
      return plan.out.chunk(rank.value(), step.out_chunk().value());
    case schedule::Source::output:
    case schedule::Source::output_plus_slot:
    case schedule::Source::output_plus_slots:
      break;
  }
  return plan.out.chunk(rank.value(), step.chunk.value());
}

}  // namespace weft::collectives
