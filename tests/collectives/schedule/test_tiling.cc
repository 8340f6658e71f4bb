// Tilings cover every element exactly once, on aligned boundaries, with enough slots.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "collectives/schedule/tiling.h"

namespace {

using namespace weft::schedule;
using weft::WorldSize;

constexpr Tiling kSmall = make_tiling(1000, 4, WorldSize(2), {1024, 2, 4});
static_assert(kSmall.chunk_elements == 512 && kSmall.piece_elements == 256);
static_assert(kSmall.blocks == 2 && kSmall.pieces == 1 && kSmall.rounds == 1 && kSmall.slots == 2);

void check_tiling(const Tiling& t, std::int64_t item_bytes, int world, const TilingLimits& limits) {
  std::vector<Range> ranges;
  bool aligned = true, inside = true;
  for (int chunk = 0; chunk < world; ++chunk) {
    const std::int64_t first = std::min(chunk * t.chunk_elements, t.elements);
    const std::int64_t last = std::min(first + t.chunk_elements, t.elements);
    for (int block = 0; block < t.blocks; ++block) {
      for (int round = 0; round < t.rounds; ++round) {
        for (int i = 0; i < t.pieces; ++i) {
          const Range r = t.piece(chunk, block, round, i);
          inside = inside && r.begin >= first && r.end <= last && r.begin <= r.end;
          if (r.size() == 0) continue;
          aligned = aligned && r.begin * item_bytes % Tiling::kAlign == 0 &&
                    (r.end * item_bytes % Tiling::kAlign == 0 || r.end == t.elements) &&
                    r.size() * item_bytes <= limits.piece_bytes;
          ranges.push_back(r);
        }
      }
    }
  }
  CHECK(aligned);
  CHECK(inside);
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::int64_t covered = 0;
  for (const Range& r : ranges) {
    REQUIRE(r.begin == covered);
    covered = r.end;
  }
  CHECK(covered == t.elements);
  CHECK(t.slots > t.pieces);
  CHECK(t.pieces <= limits.pieces);
  CHECK(t.blocks <= limits.blocks);
  CHECK(t.rounds >= 1);
}

}  // namespace

TEST_CASE("every element is in exactly one piece, whatever the sizes") {
  std::mt19937 random(20261122);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int trial = 0; trial < 600; ++trial) {
    const std::int64_t item = std::int64_t{1} << pick(0, 3);
    const int world = pick(1, trial % 10 == 0 ? 64 : 9);
    const TilingLimits limits{Tiling::kAlign * pick(1, 40), pick(1, 5), pick(1, 8)};
    const std::int64_t elements = trial < 300 ? pick(0, 4099) : pick(0, 300'000);
    CAPTURE(item);
    CAPTURE(world);
    CAPTURE(elements);
    CAPTURE(limits.piece_bytes);
    CAPTURE(limits.pieces);
    CAPTURE(limits.blocks);
    check_tiling(make_tiling(elements, item, WorldSize(world), limits), item, world, limits);
  }
}

TEST_CASE("short vectors get one block, one piece and one round") {
  for (const std::int64_t elements : {0, 1, 31, 32}) {
    const Tiling t = make_tiling(elements, 4, WorldSize(1), {4096, 4, 16});
    CHECK(t.blocks == 1);
    CHECK(t.pieces == 1);
    CHECK(t.rounds == 1);
  }
}

TEST_CASE("a vector of many terabytes does not overflow") {
  const std::int64_t elements = std::int64_t{1} << 40;
  const Tiling t = make_tiling(elements, 8, WorldSize(64), {1 << 20, 4, 64});
  const Range last = t.piece(63, t.blocks - 1, t.rounds - 1, t.pieces - 1);
  CHECK(last.end == elements);
  CHECK(last.begin < elements);
}
