// Collectives that only move data, in one hop: every piece goes straight from its owner's input
// into its place in the receiver's output.
//
// One pattern serves all: a rank tells everybody who will write into its output that it may be
// written (a token), copies what stays with it, pushes what others get as soon as they allow it,
// and waits for what it gets itself. Pushed into slots instead (`into`), pieces need no permission,
// and the receiver copies them into its output. What differs is who gives which chunk to whom:
//   all_gather   rank r's one chunk becomes chunk r of every output
//   broadcast    the root's one chunk becomes every output
//   gather       rank r's one chunk becomes chunk r of the root's output
//   scatter      chunk r of the root's input becomes rank r's output
//   all_to_all   chunk j of rank i's input becomes chunk i of rank j's output
//   permute      rank r's one chunk becomes the output of rank to[r] (send and receive)
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "collectives/schedule/one_shot.h"

namespace weft::schedule::moves {

// Chunk `chunk` of from's input becomes chunk `out` of to's output.
struct Move {
  int chunk = 0;
  int out = 0;
};

// The schedule of a pattern: find(from, to, Move*) says whether `from` gives `to` anything.
template <class Find>
Schedule materialise(const char* name, WorldSize world, Chunks chunks, Target into,
                     const Find& find) {
  Schedule all{name, world};
  all.in_chunks = chunks.inputs;
  all.out_chunks = chunks.outputs;
  const int n = world.value();
  for (int r = 0; r < n; ++r) {
    Program program;
    Move move;
    const auto add = [&](Source source, Target target, Rank from, Rank to) {
      Step& s = program.emplace_back();
      s.chunk = Chunk(source == Source::input ? move.chunk : move.out);
      s.out = Chunk(move.out);
      s.source = source;
      s.target = target;
      s.from = from;
      s.to = to;
    };
    for (int i = 0; into == Target::output && i + 1 < n; ++i) {
      const Rank peer = peer_of(world, Rank(r), i);
      if (!find(peer.value(), r, &move)) continue;
      add(Source::none, Target::token, kNobody, peer);
    }
    if (find(r, r, &move)) {
      add(Source::input, Target::none, kNobody, kNobody);
      program.back().keep = true;
    }
    for (int i = 0; i + 1 < n; ++i) {
      const Rank peer = peer_of(world, Rank(r), i);
      const Rank from = into == Target::output ? peer : kNobody;
      if (find(r, peer.value(), &move)) add(Source::input, into, from, peer);
    }
    for (int i = n - 2; i >= 0; --i) {
      const Rank peer = peer_of(world, Rank(r), i);
      if (!find(peer.value(), r, &move)) continue;
      add(into == Target::output ? Source::output : Source::slot, Target::none, peer, kNobody);
      program.back().keep = into == Target::slot;
    }
    all.programs.push_back(std::move(program));
  }
  return all;
}

inline Schedule all_gather(WorldSize world, Target into = Target::output) {
  return materialise("one_shot", world, {1, world.value()}, into, [](int from, int, Move* move) {
    *move = {0, from};
    return true;
  });
}

inline Schedule broadcast(WorldSize world, Rank root, Target into = Target::output) {
  return materialise("one_shot", world, {1, 1}, into, [=](int from, int, Move* move) {
    *move = {0, 0};
    return from == root.value();
  });
}

inline Schedule gather(WorldSize world, Rank root, Target into = Target::output) {
  return materialise("one_shot", world, {1, world.value()}, into,
                     [=](int from, int to, Move* move) {
                       *move = {0, from};
                       return to == root.value();
                     });
}

inline Schedule scatter(WorldSize world, Rank root, Target into = Target::output) {
  return materialise("one_shot", world, {world.value(), 1}, into,
                     [=](int from, int to, Move* move) {
                       *move = {to, 0};
                       return from == root.value();
                     });
}

inline Schedule all_to_all(WorldSize world, Target into = Target::output) {
  return materialise("one_shot", world, {world.value(), world.value()}, into,
                     [](int from, int to, Move* move) {
                       *move = {to, from};
                       return true;
                     });
}

// `to`: one a rank; kNobody gives to nobody. No two ranks give to the same one.
inline Schedule permute(WorldSize world, std::span<const Rank> to, Target into = Target::output) {
  return materialise("one_shot", world, {1, 1}, into, [&](int from, int receiver, Move* move) {
    *move = {0, 0};
    return to[static_cast<std::size_t>(from)].value() == receiver;
  });
}

}  // namespace weft::schedule::moves
