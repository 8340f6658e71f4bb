// All-reduce by recursive halving and doubling: log2(n) exchanges down, log2(n) up.
//
// Source: Rabenseifner, "Optimization of collective reduction operations", ICCS 2004; Thakur,
// Rabenseifner and Gropp, 2005. With m the greatest power of two up to n, the vector has m chunks,
// and ranks m.. give their vector to rank r - m before and get the result after.
//
// Down, at distance d = m/2, m/4, ..., 1: rank r and its partner r xor d share a window of 2d
// chunks; each pushes the half that the other will own and adds what it gets to its own half, in
// its own output. Up, at distance 1, 2, ..., m/2, each pushes its window into the partner's output.
//
// Invariants
//   1. Partial sums are in the tensor's type, in a tree that depends on n alone: every chunk is
//      finished by one rank, so all ranks get the same bits.
//   2. Pushes and receptions alternate chunk by chunk, so that few slots suffice.
#pragma once

#include <algorithm>
#include <bit>

#include "collectives/schedule/one_shot.h"

namespace weft::schedule::halving_doubling {
namespace detail {

struct Builder {
  int m;
  int extras;
  int rank;
  Program program{};

  bool folded() const { return rank + m < m + extras; }

  // Own partial sum of a chunk: the input until something was added to it.
  void push_slot(int chunk, int to, bool untouched) {
    Step s;
    s.chunk = Chunk(chunk);
    s.source = untouched ? Source::input : Source::output;
    s.target = Target::slot;
    s.to = Rank(to);
    program.push_back(s);
  }
  void add_slot(int chunk, int from, bool untouched, bool last) {
    Step s;
    s.chunk = Chunk(chunk);
    s.source = untouched ? Source::input_plus_slot : Source::output_plus_slot;
    s.from = Rank(from);
    s.keep = true;
    s.last_sum = last;
    program.push_back(s);
  }
  void push_output(int chunk, int to) {
    Step s;
    s.chunk = Chunk(chunk);
    s.source = Source::output;
    s.target = Target::output;
    s.to = Rank(to);
    program.push_back(s);
  }
  void await_output(int chunk, int from) {
    Step s;
    s.chunk = Chunk(chunk);
    s.source = Source::output;
    s.from = Rank(from);
    program.push_back(s);
  }

  void halve() {
    for (int d = m / 2; d >= 1; d /= 2) {
      const int partner = rank ^ d;
      const int own = rank / d * d;
      const int other = partner / d * d;
      const bool untouched = d == m / 2 && !folded();
      for (int c = 0; c < d; ++c) {
        push_slot(other + c, partner, untouched);
        add_slot(own + c, partner, untouched, d == 1);
      }
    }
  }
  void double_up() {
    for (int d = 1; d < m; d *= 2) {
      const int partner = rank ^ d;
      const int own = rank / d * d;
      const int other = partner / d * d;
      for (int c = 0; c < d; ++c) push_output(own + c, partner);
      for (int c = 0; c < d; ++c) await_output(other + c, partner);
    }
  }
  void build() {
    if (rank >= m) {
      for (int c = 0; c < m; ++c) push_slot(c, rank - m, true);
      for (int c = 0; c < m; ++c) await_output(c, rank - m);
      return;
    }
    // With one pair only, the fold already is the whole sum.
    for (int c = 0; folded() && c < m; ++c) add_slot(c, rank + m, true, m == 1);
    halve();
    double_up();
    for (int c = 0; folded() && c < m; ++c) push_output(c, rank + m);
  }
};

}  // namespace detail

inline Schedule materialise(WorldSize world) {
  const int n = world.value();
  Schedule all{"halving_doubling", world};
  const int m = static_cast<int>(std::bit_floor(static_cast<unsigned>(n)));
  all.in_chunks = all.out_chunks = m;
  for (int r = 0; r < n; ++r) {
    detail::Builder builder{m, n - m, r};
    if (n == 1) {
      builder.program.push_back(alone());
    } else {
      builder.build();
    }
    all.programs.push_back(std::move(builder.program));
  }
  return all;
}

}  // namespace weft::schedule::halving_doubling
