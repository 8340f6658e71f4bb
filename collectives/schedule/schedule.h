// A collective as pure data: what each rank does at each step, with no word of how.
//
// A vector is cut into `world` chunks; a chunk is cut into pieces (see tiling.h). A rank runs its
// steps in order, and within a step its pieces in order, as long as the executor keeps both orders
// it may overlap them. Between two ranks there is a lane for each ordered pair a schedule uses;
// what travels on a lane arrives in the order it was sent.
//
// Every algorithm gives one constexpr function step(world, rank, i) and a step count; materialise()
// turns it into the list that the verifier, the predictor and the simulator read. Tuned kernels
// call the function. A test shows that both are the same up to 64 ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/types.h"

namespace weft::schedule {

// Which chunk of the vector, 0..world-1.
using Chunk = Strong<struct ChunkTag, std::int32_t>;

// What a step reads. `slot` is the scratch slot into which `from` pushed the piece.
enum class Source : std::uint8_t {
  input,            // the rank's own input
  input_plus_slot,  // own input reduced with the received partial sum
  output,           // the rank's own output, into which `from` pushed the finished piece
};

// Where a step pushes its piece on rank `to`.
enum class Target : std::uint8_t { none, slot, output };

inline constexpr Rank kNobody{-1};

struct Step {
  Chunk chunk{};
  Source source = Source::input;
  Target target = Target::none;
  Rank from = kNobody;    // waits for one piece on this lane before reading; nobody: does not wait
  Rank to = kNobody;      // pushes one piece to this rank, if target is not none
  bool keep = false;      // also writes the piece to its own output
  bool last_sum = false;  // this reduction is the chunk's last: `avg` divides here
  friend constexpr bool operator==(const Step&, const Step&) = default;
};

// One rank's steps.
using Program = std::vector<Step>;

// All ranks' programs, indexed by rank.
struct Schedule {
  const char* name = "";
  WorldSize world{};
  std::vector<Program> programs;
};

}  // namespace weft::schedule
