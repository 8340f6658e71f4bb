// How vectors are cut: into chunks, rounds, pieces and blocks.
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

// Where the chunks of every rank's input, or output, lie.
struct ChunkMap {
  std::int64_t elements = 0;        // of a rank's vector
  std::int64_t chunk_elements = 0;  // of all chunks but the last non-empty one
  // Uneven chunks: begins[rank * (chunks + 1) + chunk], up to the end of the last.
  const std::int64_t* begins = nullptr;
  std::int32_t chunks = 1;

  constexpr Range chunk(std::int32_t rank, std::int32_t number) const {
    if (begins) {
      const std::int64_t* of_rank = begins + static_cast<std::int64_t>(rank) * (chunks + 1);
      return {of_rank[number], of_rank[number + 1]};
    }
    const std::int64_t begin = std::min(number * chunk_elements, elements);
    return {begin, std::min(begin + chunk_elements, elements)};
  }
};

// How much there is to cut: the longest vector of any rank, and the largest chunk.
struct Extent {
  std::int64_t elements = 0;
  std::int64_t chunk_elements = 0;
};

struct Tiling {
  static constexpr std::int64_t kAlign = 128;  // bytes

  std::int64_t elements = 0;        // in the vector
  std::int64_t chunk_elements = 0;  // in all chunks but the last non-empty one
  std::int64_t piece_elements = 0;  // at most
  std::int32_t pieces = 1;          // a step, a round, a block
  std::int32_t rounds = 0;
  std::int32_t blocks = 1;
  std::int32_t slots = 1;  // a block; whole steps of pieces

  // The elements of one piece of a chunk of `size`, from the chunk's start; empty (begin == end)
  // past its end.
  constexpr Range part(std::int64_t size, std::int32_t block, std::int32_t round,
                       std::int32_t index) const {
    const std::int64_t number =
        (static_cast<std::int64_t>(round) * pieces + index) * blocks + block;
    const std::int64_t begin = std::min(number * piece_elements, size);
    return {begin, std::min(begin + piece_elements, size)};
  }
  constexpr Range chunk(std::int32_t number) const {
    const std::int64_t first = std::min(number * chunk_elements, elements);
    return {first, std::min(first + chunk_elements, elements)};
  }
  // A part of one chunk of the vector, from the vector's start.
  constexpr Range piece(std::int32_t number, std::int32_t block, std::int32_t round,
                        std::int32_t index) const {
    const Range whole = chunk(number);
    const Range within = part(whole.size(), block, round, index);
    return {whole.begin + within.begin, whole.begin + within.end};
  }
};

// What an executor can offer.
struct TilingLimits {
  std::int64_t piece_bytes = 0;  // the largest piece, a multiple of kAlign
  std::int32_t pieces = 1;       // the most pieces a step and round
  std::int32_t blocks = 1;       // the most workers a rank
};

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Chunks of equal size for `chunks` owners, begun at multiples of kAlign bytes.
constexpr std::int64_t aligned_chunk(std::int64_t elements, std::int64_t item_bytes,
                                     std::int64_t chunks) {
  const std::int64_t align = Tiling::kAlign / item_bytes;
  return ceil_div(ceil_div(elements, chunks), align) * align;
}

// Cuts chunks of at most `chunk_elements`. Small chunks get fewer blocks and pieces.
constexpr Tiling cut_chunks(std::int64_t elements, std::int64_t chunk_elements,
                            std::int64_t item_bytes, const TilingLimits& limits) {
  Tiling t;
  t.elements = elements;
  t.chunk_elements = chunk_elements;
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

// Cuts `elements` of `item_bytes` each into a chunk a rank.
constexpr Tiling make_tiling(std::int64_t elements, std::int64_t item_bytes, WorldSize world,
                             const TilingLimits& limits) {
  return cut_chunks(elements, aligned_chunk(elements, item_bytes, world.value()), item_bytes,
                    limits);
}

}  // namespace weft::schedule
