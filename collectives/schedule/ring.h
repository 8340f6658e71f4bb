// Ring all-reduce: reduce-scatter then all-gather around a ring, each rank pushing to the next.
//
// Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
// workstations", J. Parallel Distrib. Comput. 69 (2009). Each rank sends 2 (n - 1) / n of the
// vector, the lower bound.
//
// Rank r, step i, 0 <= i <= 2n - 2, all on chunk (r - i) mod n:
//   i = 0            push own input to the next rank's slot
//   0 < i < n - 1    wait for the previous rank's partial sum, add own input, push to the next slot
//   i = n - 1        the same, but the sum is complete: keep it, push it to the next rank's output
//   n <= i < 2n - 2  wait for a finished chunk in own output, push it to the next rank's output
//   i = 2n - 2       wait for the last finished chunk
//
// Invariants
//   1. A push into a rank's output is safe in place: the finished chunk depends, through a chain of
//      signals, on that rank having read its own input of this chunk.
//   2. The chunk is summed in the order r, r + 1, ..., r + n - 1 from the rank r = chunk on,
//      whatever the sizes and the timing: results depend on n and the chunk only.
//   3. The ring is the order of ranks. A fabric chooses which device a rank is.
#pragma once

#include "collectives/schedule/schedule.h"

namespace weft::schedule::ring {

constexpr int step_count(WorldSize world) { return world.value() == 1 ? 1 : 2 * world.value() - 1; }

// How many of a rank's pushes go to slots (the reduce-scatter half).
constexpr int slot_steps(WorldSize world) { return world.value() - 1; }

constexpr Step step(WorldSize world, Rank rank, int i) {
  const int n = world.value();
  const int r = rank.value();
  if (n == 1) return Step{Chunk(0), Source::input, Target::none, kNobody, kNobody, true, true};
  const Rank next((r + 1) % n);
  const Rank previous((r + n - 1) % n);
  Step s;
  s.chunk = Chunk(((r - i) % n + n) % n);
  s.from = i == 0 ? kNobody : previous;
  s.source = i == 0 ? Source::input : i < n ? Source::input_plus_slot : Source::output;
  s.target = i < n - 1 ? Target::slot : i < 2 * n - 2 ? Target::output : Target::none;
  s.to = s.target == Target::none ? kNobody : next;
  s.keep = s.last_sum = i == n - 1;
  return s;
}

inline Schedule materialise(WorldSize world) {
  Schedule all{"ring", world, {}};
  for (int r = 0; r < world.value(); ++r) {
    Program program;
    for (int i = 0; i < step_count(world); ++i) program.push_back(step(world, Rank(r), i));
    all.programs.push_back(std::move(program));
  }
  return all;
}

}  // namespace weft::schedule::ring
