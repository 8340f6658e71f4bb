// Reductions whose result is not everybody's: reduce-scatter and reduce; and the ring all-gather.
//
// reduce_scatter (chunk r of the sum becomes rank r's output)
//   one_shot_pull   tokens; read chunk r of every input, add in rank order; tokens
//   one_shot        push chunk p to a slot of rank p; add the slots and own chunk in rank order
//   ring            n - 1 hops, each adds own input (Patarasuk and Yuan 2009, the first half)
// reduce (the sum becomes the root's output; only that is written)
//   two_shot        tokens; rank r reads chunk r of every input, adds in rank order and pushes the
//                   sum into the root's output; tokens
// all_gather
//   ring            n - 1 hops from output to output
//
// In rank order the results agree bit for bit with all_reduce's; the ring adds chunk c in the order
// c + 1, c + 2, ..., c.
#pragma once

#include "collectives/schedule/one_shot.h"

namespace weft::schedule {

namespace reduce_scatter_pull {

constexpr int step_count(WorldSize world) { return one_shot_pull::step_count(world); }
constexpr Step step(WorldSize world, Rank rank, int i) {
  Step s = one_shot_pull::step(world, rank, i);
  s.chunk = Chunk(rank.value());
  s.out = Chunk(0);
  return s;
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("one_shot_pull", world, step_count(world), step, {0, 1});
}

}  // namespace reduce_scatter_pull

namespace reduce_scatter_push {

constexpr int step_count(WorldSize world) { return one_shot::step_count(world); }
constexpr Step step(WorldSize world, Rank rank, int i) {
  Step s = one_shot::step(world, rank, i);
  s.chunk = Chunk(s.to == kNobody ? rank.value() : s.to.value());
  s.out = Chunk(0);
  return s;
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("one_shot", world, step_count(world), step, {0, 1});
}

}  // namespace reduce_scatter_push

namespace reduce_scatter_ring {

constexpr int step_count(WorldSize world) { return world.value(); }
constexpr Step step(WorldSize world, Rank rank, int i) {
  const int n = world.value();
  if (n == 1) return alone();
  Step s;
  s.chunk = Chunk((rank.value() - i - 1 + 2 * n) % n);
  s.out = Chunk(0);
  s.source = i == 0 ? Source::input : Source::input_plus_slot;
  s.from = i == 0 ? kNobody : Rank((rank.value() + n - 1) % n);
  s.keep = s.last_sum = i == n - 1;
  s.target = i < n - 1 ? Target::slot : Target::none;
  s.to = i < n - 1 ? Rank((rank.value() + 1) % n) : kNobody;
  return s;
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("ring", world, step_count(world), step, {0, 1});
}

}  // namespace reduce_scatter_ring

namespace all_gather_ring {

// Step 0 allows the previous rank to write; step 1 gives own input; then n - 2 hops, and a wait.
constexpr int step_count(WorldSize world) { return world.value() == 1 ? 1 : world.value() + 1; }
constexpr Step step(WorldSize world, Rank rank, int i) {
  const int n = world.value();
  if (n == 1) return alone();
  const Rank previous((rank.value() + n - 1) % n);
  const Rank next((rank.value() + 1) % n);
  Step s;
  if (i == 0) {
    s.source = Source::none;
    s.target = Target::token;
    s.to = previous;
    return s;
  }
  s.out = Chunk((rank.value() - i + 1 + 2 * n) % n);
  s.chunk = i == 1 ? Chunk(0) : s.out;
  s.source = i == 1 ? Source::input : Source::output;
  s.from = i == 1 ? next : previous;
  s.target = i < n ? Target::output : Target::none;
  s.to = i < n ? next : kNobody;
  s.keep = i == 1;
  return s;
}
inline Schedule materialise(WorldSize world) {
  return schedule::materialise("ring", world, step_count(world), step, {1, 0});
}

}  // namespace all_gather_ring

namespace reduce_two_shot {

inline Schedule materialise(WorldSize world, Rank root) {
  Schedule all{"two_shot", world};
  const int peers = world.value() - 1;
  for (int r = 0; r < world.value(); ++r) {
    Program program;
    const auto add = [&](Source source, Target target, Rank from, Rank to) -> Step& {
      Step s;
      s.chunk = Chunk(r);
      s.source = source;
      s.target = target;
      s.from = from;
      s.to = to;
      return program.emplace_back(s);
    };
    const bool is_root = r == root.value();
    for (int i = 0; i < peers; ++i) {
      add(Source::none, Target::token, kNobody, peer_of(world, Rank(r), i));
    }
    Step& sum = peers == 0 ? add(Source::input, Target::none, kNobody, kNobody)
                           : add(Source::inputs, is_root ? Target::none : Target::output, kEveryone,
                                 is_root ? kNobody : root);
    sum.last_sum = true;
    sum.keep = is_root;
    // The root's input has been read when the sum is there; the others are told.
    for (int i = 0; i < peers; ++i) {
      const Rank peer = peer_of(world, Rank(r), i);
      if (peer != root) add(Source::none, Target::token, kNobody, peer);
    }
    for (int i = 0; i < peers; ++i) {
      const Rank peer = peer_of(world, Rank(r), i);
      Step& wait = add(is_root ? Source::output : Source::none, Target::none, peer, kNobody);
      wait.chunk = Chunk(peer.value());
    }
    all.programs.push_back(std::move(program));
  }
  return all;
}

}  // namespace reduce_two_shot
}  // namespace weft::schedule
