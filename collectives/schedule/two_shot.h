// All-reduce in two hops: each rank adds up one chunk and gives everybody the sum.
//
// push_two_shot, 3n - 2 steps of rank r:
//   i < n - 1   push own input of the peer's chunk to a slot of peer r + 1 + i
//   i = n - 1   wait for every peer's piece of chunk r, add in rank order, keep
//   then        push the sum of chunk r into every peer's output, and wait for the other chunks
// two_shot is the same with the first hop pulled, without slots: tokens say that own input may be
// read, and chunk r is read from every peer's input.
//
// Each rank moves 2 (n - 1) / n of the vector, the lower bound, in two hops. Source: Rabenseifner,
// "Optimization of collective reduction operations", ICCS 2004, with a direct exchange in place of
// recursive halving.
//
// Invariant: both work in place. Chunk c of any rank's vector is read and then written by rank c
// alone (two_shot), or written only after its owner pushed it (push_two_shot).
#pragma once

#include "collectives/schedule/one_shot.h"

namespace weft::schedule {
namespace detail {

constexpr Step two_shot_step(WorldSize world, Rank rank, int i, bool push) {
  const int peers = world.value() - 1;
  if (peers == 0) return alone();
  Step s;
  s.chunk = Chunk(rank.value());
  if (i < peers) {
    s.to = peer_of(world, rank, i);
    s.source = push ? Source::input : Source::none;
    s.target = push ? Target::slot : Target::token;
    if (push) s.chunk = Chunk(s.to.value());
  } else if (i == peers) {
    s.source = push ? Source::slots : Source::inputs;
    s.from = kEveryone;
    s.keep = s.last_sum = true;
  } else if (i <= 2 * peers) {
    s.source = Source::output;
    s.target = Target::output;
    s.to = peer_of(world, rank, i - peers - 1);
  } else {
    s.source = Source::output;
    s.from = peer_of(world, rank, i - 2 * peers - 1);
    s.chunk = Chunk(s.from.value());
  }
  return s;
}

constexpr int two_shot_steps(WorldSize world) {
  return world.value() == 1 ? 1 : 3 * world.value() - 2;
}

}  // namespace detail

namespace two_shot {

constexpr int step_count(WorldSize world) { return detail::two_shot_steps(world); }
constexpr Step step(WorldSize world, Rank rank, int i) {
  return detail::two_shot_step(world, rank, i, false);
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("two_shot", world, step_count(world), step);
}

}  // namespace two_shot

namespace push_two_shot {

constexpr int step_count(WorldSize world) { return detail::two_shot_steps(world); }
constexpr Step step(WorldSize world, Rank rank, int i) {
  return detail::two_shot_step(world, rank, i, true);
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("push_two_shot", world, step_count(world), step);
}

}  // namespace push_two_shot
}  // namespace weft::schedule
