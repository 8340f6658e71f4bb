// What one rank moves in a collective that needs no scratch: reads inputs in place, writes outputs
// in place. Shared by the zero-copy kernel (direct.h) and the copy engines (copy_engine.h).
//
// Offsets and lengths are in elements. `elements` is the vector's length for one_shot, two_shot,
// reduce, broadcast and send; for the rest, the length of one rank's part, and part j of a vector
// of `world` parts begins at j * elements.
//
// Invariants
//   1. The moves of all ranks write every element of every output of the collective exactly once.
//   2. A rank's moves to and from others begin with the rank after it: no two ranks favour one
//   link.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "collectives/plan.h"
#include "core/base/types.h"

namespace weft::collectives {

// Which moves make up the collective. Those that sum come first.
enum class Motion : std::uint8_t {
  one_shot,        // all-reduce: everyone pulls everything
  two_shot,        // all-reduce: a rank pulls its chunk of all inputs, pushes the sum to all
  reduce,          // the same, pushed to the root
  reduce_scatter,  // a rank pulls its part of all inputs
  all_gather,
  broadcast,
  scatter,
  gather,
  all_to_all,
  send,     // root to peer
  planned,  // each rank's pushes and what it keeps, as the plan's schedule says; no sums
};

struct MotionPlan {
  Motion motion = Motion::two_shot;
  Rank root{};
  Rank peer{};
};

inline constexpr std::int32_t kAllOfThem = -1;

struct Move {
  std::int32_t from = 0;  // a rank's input; all of them: the sum
  std::int32_t to = 0;    // a rank's output, or all of them
  std::int64_t from_offset = 0;
  std::int64_t to_offset = 0;
  std::int64_t count = 0;
};

class MoveList {
 public:
  void add(const Move& move) {
    if (move.count > 0) moves_[static_cast<std::size_t>(count_++)] = move;
  }
  std::span<const Move> span() const { return {moves_.data(), static_cast<std::size_t>(count_)}; }

 private:
  std::array<Move, kMaxCudaRanks> moves_{};
  int count_ = 0;
};

// The moves of one rank. `item_bytes` only aligns the chunks of two_shot and reduce.
MoveList moves_of(const MotionPlan& motion, WorldSize world, Rank rank, std::int64_t elements,
                  std::int64_t item_bytes);

// The moves of Motion::planned, of chunks of any size.
MoveList moves_of(const Plan& plan, Rank rank);
// Either.
MoveList moves_of(const MotionPlan& motion, const Plan& plan, Rank rank);

}  // namespace weft::collectives
