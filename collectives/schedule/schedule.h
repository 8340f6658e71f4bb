// A collective as pure data: what each rank does at each step, with no word of how.
//
// A rank's input and output are cut into chunks (how many is the schedule's, where they lie is the
// plan's); a chunk is cut into pieces (see tiling.h). A rank runs its steps in order, and within a
// step its pieces in order; as long as the executor keeps both orders it may overlap them. Between
// two ranks there is a lane for each ordered pair a schedule uses; what travels on a lane arrives
// in the order it was sent.
//
// Every algorithm gives one constexpr function step(world, rank, i) and a step count; materialise()
// turns it into the list that the verifier, the predictor and the simulator read. Tuned kernels
// call the function. A test shows that both are the same up to 64 ranks.
//
// Invariants
//   1. Sums over several ranks are added in the order of their group: rank order, if the group is
//      everyone.
//   2. A step that pulls or pushes into user memory of a peer has been told, by a piece or a token,
//      that the peer takes part; and a rank ends only when nobody will touch its memory any more.
//      The verifier proves both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/base/types.h"

namespace weft::schedule {

// Which chunk of the input or the output, from 0.
using Chunk = Strong<struct ChunkTag, std::int32_t>;

// What a step reads and adds up. A slot is where `from` pushed a piece; own memory is the rank's.
enum class Source : std::uint8_t {
  input,              // own input
  input_plus_slot,    // the received partial sum, then own input
  output,             // own output, into which `from` pushed the finished piece, or own result
  none,               // nothing: a step that only waits for a token, or only gives one
  slot,               // the received piece as it is
  output_plus_slot,   // the received partial sum, then the partial sum in own output
  slots,              // own input and one slot from every other rank of the group, in its order
  output_plus_slots,  // the same with the partial sum in own output in place of own input
  inputs,             // own input and, pulled, the inputs of the other ranks of the group
};

// Where a step pushes its piece on rank `to`. A token is a signal without data.
enum class Target : std::uint8_t { none, slot, output, token };

inline constexpr Rank kNobody{-1};
inline constexpr Rank kEveryone{-2};  // every other rank of the step's group
inline constexpr Chunk kSameChunk{-1};
inline constexpr std::int32_t kAllRanks = -1;  // the group of all ranks

struct Step {
  Chunk chunk{};  // of what it reads
  Source source = Source::input;
  Target target = Target::none;
  Rank from = kNobody;     // waits for one piece or token on this lane (of everyone: on each lane)
  Rank to = kNobody;       // pushes one piece to this rank, if target is not none
  bool keep = false;       // also writes the piece to its own output
  bool last_sum = false;   // this reduction is the chunk's last: `avg` divides here
  Chunk out = kSameChunk;  // chunk of the output that is kept or pushed into
  std::int32_t group = kAllRanks;  // Schedule::groups, for kEveryone

  constexpr Chunk out_chunk() const { return out == kSameChunk ? chunk : out; }
  // Slots that it reads and frees.
  constexpr bool reads_slot() const {
    return source == Source::slot || source == Source::input_plus_slot ||
           source == Source::output_plus_slot;
  }
  constexpr bool reads_slots() const {
    return source == Source::slots || source == Source::output_plus_slots;
  }
  constexpr bool pulls() const { return source == Source::inputs; }
  constexpr bool reads_input() const {
    return source == Source::input || source == Source::input_plus_slot ||
           source == Source::slots || source == Source::inputs;
  }
  constexpr bool reads_output() const {
    return source == Source::output || source == Source::output_plus_slot ||
           source == Source::output_plus_slots;
  }
  constexpr bool reduces() const {
    return reads_slots() || pulls() || source == Source::input_plus_slot ||
           source == Source::output_plus_slot;
  }
  friend constexpr bool operator==(const Step&, const Step&) = default;
};

// One rank's steps.
using Program = std::vector<Step>;

// All ranks' programs, indexed by rank.
struct Schedule {
  const char* name = "";
  WorldSize world{};
  std::vector<Program> programs{};
  std::int32_t in_chunks = 0;   // of every rank's input; 0: one a rank
  std::int32_t out_chunks = 0;  // of every rank's output; 0: one a rank
  std::vector<std::vector<Rank>> groups{};

  std::int32_t inputs() const { return in_chunks ? in_chunks : world.value(); }
  std::int32_t outputs() const { return out_chunks ? out_chunks : world.value(); }
};

// Calls visit(member) for every rank of the step's group, the rank itself included, in order.
template <class Visit>
void for_each_member(const Schedule& schedule, const Step& step, const Visit& visit) {
  if (step.group == kAllRanks) {
    for (int member = 0; member < schedule.world.value(); ++member) visit(member);
    return;
  }
  for (const Rank member : schedule.groups[static_cast<std::size_t>(step.group)]) {
    visit(member.value());
  }
}

// Calls visit(peer) for every rank that the step waits for.
template <class Visit>
void for_each_source(const Schedule& schedule, int rank, const Step& step, const Visit& visit) {
  if (step.from == kNobody) return;
  if (step.from != kEveryone) return visit(step.from.value());
  for_each_member(schedule, step, [&](int member) {
    if (member != rank) visit(member);
  });
}

// How many chunks inputs and outputs have; 0: one a rank.
struct Chunks {
  std::int32_t inputs = 0;
  std::int32_t outputs = 0;
};

// The list of what step(world, rank, i) says for every rank.
template <class StepOf>
Schedule materialise(const char* name, WorldSize world, int steps, const StepOf& step,
                     Chunks chunks = {}) {
  Schedule all{name, world};
  all.in_chunks = chunks.inputs;
  all.out_chunks = chunks.outputs;
  for (int r = 0; r < world.value(); ++r) {
    Program program;
    for (int i = 0; i < steps; ++i) program.push_back(step(world, Rank(r), i));
    all.programs.push_back(std::move(program));
  }
  return all;
}

}  // namespace weft::schedule
