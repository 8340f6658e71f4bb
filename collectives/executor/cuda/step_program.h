// A rank's part of a schedule as the step kernel takes it (steps.h), and where each piece of each
// step lies. Plain data and arithmetic, the same on host and device; no CUDA header.
//
// Invariants
//   1. The steps are the schedule's own, in its order; groups keep the order of their members,
//      which is the order of the sums.
//   2. Counts of slots begin with the operation. A slot's number follows from its owner's lane for
//      the sender, the block and the count alone, so that both ends find the same one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "collectives/plan.h"
#include "core/base/error.h"
#include "fabric/arena.h"

namespace weft::collectives::cuda {

struct StepProgram {
  static constexpr int kMostSteps = 64;  // halving and doubling over 16 ranks has 60
  static constexpr int kMostGroups = 4;  // that one rank is in

  struct Group {
    std::int8_t size = 0;
    std::int8_t ranks[kMaxCudaRanks] = {};
  };

  schedule::Step steps[kMostSteps] = {};  // `group` is an index into `groups`, or kAllRanks
  Group groups[kMostGroups] = {};
  std::int32_t count = 0;  // steps
  std::int32_t world = 1;
  std::int32_t slot_lanes = 0;                 // a rank, at most
  std::int8_t lane_from[kMaxCudaRanks] = {};   // of own slots: the sender's
  std::int8_t lane_there[kMaxCudaRanks] = {};  // of that rank's slots: own

  constexpr int members(const schedule::Step& step) const {
    return step.group == schedule::kAllRanks ? world : groups[step.group].size;
  }
  constexpr int member(const schedule::Step& step, int i) const {
    return step.group == schedule::kAllRanks ? i : groups[step.group].ranks[i];
  }
  // Does the step of this program's rank wait for that peer?
  constexpr bool awaits(const schedule::Step& step, int peer) const {
    if (step.from != schedule::kEveryone) return step.from.value() == peer;
    for (int i = 0; i < members(step); ++i) {
      if (member(step, i) == peer) return true;
    }
    return false;
  }
};

// Why no kernel can take the schedule; empty if one can.
inline std::string program_problem(const schedule::Schedule& schedule) {
  std::size_t longest = 0;
  for (const schedule::Program& program : schedule.programs) {
    longest = std::max(longest, program.size());
  }
  if (longest <= static_cast<std::size_t>(StepProgram::kMostSteps)) return "";
  return concat("its kernel takes up to ", StepProgram::kMostSteps, " steps a rank, and there are ",
                longest);
}

namespace detail {

// The number of a schedule's group among those of one rank's program.
inline std::int32_t add_group(StepProgram& program, std::int32_t (&known)[StepProgram::kMostGroups],
                              const schedule::Schedule& schedule, std::int32_t group) {
  int at = 0;
  while (at < StepProgram::kMostGroups && program.groups[at].size > 0 && known[at] != group) ++at;
  if (at == StepProgram::kMostGroups) fail(ErrorCode::internal, "a rank is in too many groups");
  if (program.groups[at].size > 0) return at;
  known[at] = group;
  for (const Rank member : schedule.groups[static_cast<std::size_t>(group)]) {
    program.groups[at].ranks[program.groups[at].size++] = static_cast<std::int8_t>(member.value());
  }
  return at;
}

}  // namespace detail

// One rank's program. The schedule has no program_problem(), at most kMaxCudaRanks ranks, and no
// pulls: these the zero-copy kernels do (direct.h).
inline StepProgram pack_program(const schedule::Prepared& prepared, Rank rank) {
  const schedule::Schedule& schedule = prepared.schedule;
  StepProgram program;
  program.world = schedule.world.value();
  program.slot_lanes = prepared.slot_lanes;
  std::int32_t known[StepProgram::kMostGroups] = {};
  for (schedule::Step step : schedule.programs[static_cast<std::size_t>(rank.value())]) {
    if (step.pulls()) fail(ErrorCode::internal, schedule.name, " pulls");
    if (step.from == schedule::kEveryone && step.group != schedule::kAllRanks) {
      step.group = detail::add_group(program, known, schedule, step.group);
    }
    program.steps[program.count++] = step;
  }
  for (int peer = 0; peer < program.world; ++peer) {
    program.lane_from[peer] = static_cast<std::int8_t>(prepared.lane(rank.value(), peer));
    program.lane_there[peer] = static_cast<std::int8_t>(prepared.lane(peer, rank.value()));
  }
  return program;
}

inline constexpr std::int64_t kStepPieceBytes = 16 << 10;
inline constexpr std::int32_t kMostStepPieces = 4;

// The scratch that the slots of one block take at least.
constexpr std::int64_t steps_least(std::int32_t slot_lanes) {
  return 2 * kStepPieceBytes * slot_lanes;
}

// How chunks are cut for up to `blocks` blocks and `scratch` bytes of slots, steps_least() or more.
// A rank that hears of one peer only runs ahead by several pieces; one that waits for many needs
// their slots. Either way there are two slots a piece (schedule/tiling.h).
constexpr schedule::TilingLimits steps_limits(std::int32_t slot_lanes, std::int64_t scratch,
                                              std::int32_t blocks) {
  schedule::TilingLimits limits{kStepPieceBytes, slot_lanes <= 1 ? kMostStepPieces : 1, blocks};
  if (slot_lanes == 0) return limits;
  const std::int64_t room = scratch / steps_least(slot_lanes);
  limits.blocks = static_cast<std::int32_t>(std::min<std::int64_t>(blocks, room));
  limits.pieces =
      static_cast<std::int32_t>(std::min<std::int64_t>(limits.pieces, room / limits.blocks));
  return limits;
}

// One rank's view of the operation; the kernel's only parameter.
struct StepsParams {
  StepProgram program{};
  const std::byte* input = nullptr;
  std::byte* outputs[kMaxCudaRanks] = {};
  std::byte* arenas[kMaxCudaRanks] = {};
  std::int64_t slots_offset = 0;  // of an arena's first slot
  schedule::ChunkMap in{};        // even chunks
  schedule::ChunkMap out{};
  schedule::Tiling tiling{};
  fabric::ArenaLayout layout{};
  fabric::WaitLimits limits{};
  fabric::FaultRecord* records = nullptr;  // this rank's, by block
  FaultPoint fault{};
  std::int32_t rank = 0;
  bool meets = false;  // meets_at_end()
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};
static_assert(std::is_trivially_copyable_v<StepsParams> && sizeof(StepsParams) <= 4000);

// One piece of one step: where its elements come from and go to, as this rank addresses them.
struct StepPiece {
  const StepsParams& params;
  const schedule::Step& step;
  // Of this operation and block before this piece, by peer.
  const std::uint32_t* slots_read;
  const std::uint32_t* slots_pushed;
  int block = 0;
  schedule::Range part{};  // elements from the chunk's start

  constexpr StepPiece(const StepsParams& all, const schedule::Step& of, const std::uint32_t* read,
                      const std::uint32_t* pushed, int of_block, int round, int index)
      : params(all), step(of), slots_read(read), slots_pushed(pushed), block(of_block) {
    const schedule::Range chunk = source_range(all.in, all.out, Rank(all.rank), of);
    part = all.tiling.part(chunk.size(), of_block, round, index);
  }

  constexpr std::int64_t bytes() const { return part.size() * item_bytes(params.dtype); }
  // Not of a step that only waits, or only tells.
  constexpr bool moves() const {
    return part.size() > 0 && step.source != schedule::Source::none && targets() > 0;
  }
  // What its reduction does: an average is a sum until the last one.
  constexpr ReduceOp op() const {
    return params.op == ReduceOp::avg && !step.last_sum ? ReduceOp::sum : params.op;
  }

  // In the order in which they are added up.
  constexpr int sources() const {
    if (step.reads_slots()) return params.program.members(step);
    return step.reads_slot() && step.source != schedule::Source::slot ? 2 : 1;
  }
  constexpr const std::byte* source(int i) const {
    if (step.reads_slots()) {
      const int member = params.program.member(step, i);
      return member == params.rank ? own() : received(member);
    }
    return step.reads_slot() && i == 0 ? received(step.from.value()) : own();
  }

  constexpr int targets() const {
    const bool pushes =
        step.target == schedule::Target::slot || step.target == schedule::Target::output;
    return (step.keep ? 1 : 0) + (pushes ? 1 : 0);
  }
  constexpr std::byte* target(int i) const {
    if (i == 0 && step.keep) return output(params.rank);
    const int to = step.to.value();
    if (step.target == schedule::Target::output) return output(to);
    return slot(to, params.program.lane_there[to], slots_pushed[to]);
  }

 private:
  constexpr const std::byte* own() const {
    const int chunk = step.chunk.value();
    const bool result = step.reads_output();
    const std::byte* vector = result ? params.outputs[params.rank] : params.input;
    return vector + offset(result ? params.out : params.in, params.rank, chunk);
  }
  constexpr std::byte* output(int rank) const {
    return params.outputs[rank] + offset(params.out, rank, step.out_chunk().value());
  }
  constexpr std::int64_t offset(const schedule::ChunkMap& map, int rank, int chunk) const {
    return (map.chunk(rank, chunk).begin + part.begin) * item_bytes(params.dtype);
  }
  constexpr const std::byte* received(int from) const {
    return slot(params.rank, params.program.lane_from[from], slots_read[from]);
  }
  constexpr std::byte* slot(int owner, int lane, std::uint32_t count) const {
    const auto slots = static_cast<std::uint32_t>(params.tiling.slots);
    const std::int64_t first =
        (static_cast<std::int64_t>(block) * params.program.slot_lanes + lane) * slots;
    return params.arenas[owner] + params.slots_offset +
           (first + count % slots) * params.tiling.piece_elements * item_bytes(params.dtype);
  }
};

}  // namespace weft::collectives::cuda
