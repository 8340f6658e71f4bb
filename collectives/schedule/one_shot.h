// All-reduce in one hop: everybody gets everything and adds it up alone.
//
// push (`one_shot`, and the protocols `ll` and `lamport`), n steps of rank r on the one chunk:
//   i < n - 1   push own input to a slot of peer r + 1 + i
//   i = n - 1   wait for every peer's piece, add in rank order, keep
// pull (`one_shot_pull`), 3n - 2 steps:
//   i < n - 1   tell peer r + 1 + i that own input may be read
//   i = n - 1   wait for every peer, read its input, add in rank order, keep
//   then        tell every peer that its input has been read, and wait to be told
//
// Each rank receives n - 1 vectors; one hop. Source: the "all pairs" and "custom" all-reduces of
// inference engines; see also Thakur, Rabenseifner and Gropp, "Optimization of collective
// communication operations in MPICH", 2005 (short vectors).
//
// Invariant: pull does not work in place: a rank's output may still be read as its input.
#pragma once

#include "collectives/schedule/schedule.h"

namespace weft::schedule {

// The peers of a rank, each once, beginning at the next one so that links are evenly loaded.
constexpr Rank peer_of(WorldSize world, Rank rank, int i) {
  return Rank((rank.value() + 1 + i) % world.value());
}

// n = 1, in every algorithm: the identity.
constexpr Step alone() {
  Step s;
  s.keep = s.last_sum = true;
  return s;
}

namespace one_shot {

constexpr int step_count(WorldSize world) { return world.value(); }

constexpr Step step(WorldSize world, Rank rank, int i) {
  if (world.value() == 1) return alone();
  Step s;
  if (i < world.value() - 1) {
    s.target = Target::slot;
    s.to = peer_of(world, rank, i);
    return s;
  }
  s.source = Source::slots;
  s.from = kEveryone;
  s.keep = s.last_sum = true;
  return s;
}

inline Schedule materialise(WorldSize world) {
  return schedule::materialise("one_shot", world, step_count(world), step, {1, 1});
}

}  // namespace one_shot

namespace one_shot_pull {

constexpr int step_count(WorldSize world) { return world.value() == 1 ? 1 : 3 * world.value() - 2; }

constexpr Step step(WorldSize world, Rank rank, int i) {
  const int peers = world.value() - 1;
  if (peers == 0) return alone();
  Step s;
  if (i == peers) {
    s.source = Source::inputs;
    s.from = kEveryone;
    s.keep = s.last_sum = true;
    return s;
  }
  s.source = Source::none;
  if (i <= 2 * peers) {
    s.target = Target::token;
    s.to = peer_of(world, rank, i < peers ? i : i - peers - 1);
  } else {
    s.from = peer_of(world, rank, i - 2 * peers - 1);
  }
  return s;
}

inline Schedule materialise(WorldSize world) {
  return schedule::materialise("one_shot_pull", world, step_count(world), step, {1, 1});
}

}  // namespace one_shot_pull
}  // namespace weft::schedule
