// How a vector is cut: into chunks (one a rank), rounds, pieces and blocks.
//
// A chunk is walked in rounds. In a round every step of the schedule is done once, on `pieces`
// pieces for each of `blocks` workers. Pieces of a block, step after step, form one sequence a
// lane; slot number = (count of slot pushes so far) mod `slots`.
//
// Invariants
//   1. The pieces of all rounds and blocks cover each chunk exactly once, in any order.
//   2. Every rank makes the same number of pieces, some of them empty at the end of a short chunk:
//      an empty piece still signals, so that sequences never drift apart.
//   3. slots > pieces: a rank pushes a whole step before it consumes and must not block on itself;
//      and since a slot is free only after its sum went on, full slots must not wait in a circle.
//   4. Chunk and piece boundaries are multiples of kAlign bytes from the vector's start.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/types.h"

namespace weft::schedule {

struct Range {
  std::int64_t begin = 0;  // elements from the vector's start
  std::int64_t end = 0;
  constexpr std::int64_t size() const { return end - begin; }
};

struct Tiling {
  static constexpr std::int64_t kAlign = 128;  // bytes

  std::int64_t elements = 0;        // in the vector
  std::int64_t chunk_elements = 0;  // in all chunks but the last non-empty one
  std::int64_t piece_elements = 0;  // at most
  std::int32_t pieces = 1;          // a step, a round, a block
  std::int32_t rounds = 0;
  std::int32_t blocks = 1;
  std::int32_t slots = 1;  // a block

  // The elements of one piece; empty (begin == end) past the chunk's end.
  constexpr Range piece(std::int32_t chunk, std::int32_t block, std::int32_t round,
                        std::int32_t index) const {
    const std::int64_t first = std::min(chunk * chunk_elements, elements);
    const std::int64_t last = std::min(first + chunk_elements, elements);
    const std::int64_t number =
        (static_cast<std::int64_t>(round) * pieces + index) * blocks + block;
    const std::int64_t begin = std::min(first + number * piece_elements, last);
    return {begin, std::min(begin + piece_elements, last)};
  }
};

// What an executor can offer.
struct TilingLimits {
  std::int64_t piece_bytes = 0;  // the largest piece, a multiple of kAlign
  std::int32_t pieces = 1;       // the most pieces a step and round
  std::int32_t blocks = 1;       // the most workers a rank
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Cuts `elements` of `item_bytes` each for `world` ranks. Small vectors get fewer blocks and
// pieces.
constexpr Tiling make_tiling(std::int64_t elements, std::int64_t item_bytes, WorldSize world,
                             const TilingLimits& limits) {
  Tiling t;
  t.elements = elements;
  const std::int64_t align = Tiling::kAlign / item_bytes;
  t.chunk_elements = ceil_div(ceil_div(elements, world.value()), align) * align;
  t.piece_elements = limits.piece_bytes / item_bytes;
  const std::int64_t all = std::max<std::int64_t>(1, ceil_div(t.chunk_elements, t.piece_elements));
  t.blocks = static_cast<std::int32_t>(std::min<std::int64_t>(limits.blocks, all));
  t.pieces =
      static_cast<std::int32_t>(std::min<std::int64_t>(limits.pieces, ceil_div(all, t.blocks)));
  t.rounds =
      static_cast<std::int32_t>(ceil_div(all, static_cast<std::int64_t>(t.pieces) * t.blocks));
  t.slots = 2 * t.pieces;
  return t;
}

}  // namespace weft::schedule
