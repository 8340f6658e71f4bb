// How a rank's scratch is shared out among the families of CUDA kernels.
#include <doctest/doctest.h>

#include "collectives/executor/cuda/scratch.h"

namespace weft::collectives::cuda {
namespace {

fabric::ArenaLayout layout(int world, std::int64_t scratch, int blocks = 132) {
  return {world, blocks, scratch};
}

TEST_CASE("the regions follow each other, aligned, within the scratch") {
  for (const int world : {1, 2, 3, 8, 16}) {
    for (const int blocks : {1, 64, 65, 132}) {
      for (std::int64_t scratch = kLeastFlagged; scratch <= 1 << 30; scratch = scratch * 3 / 2) {
        CAPTURE(world);
        CAPTURE(scratch);
        const fabric::ArenaLayout l = layout(world, scratch, blocks);
        std::int64_t end = 0;
        for (const Region& region : {ll_region(l), lamport_region(l), slots_region(l)}) {
          CHECK(region.offset == end);
          CHECK(region.offset % 256 == 0);
          CHECK(region.bytes > 0);
          end = region.end();
        }
        CHECK(end == scratch);
      }
    }
  }
}

TEST_CASE("what the flagged families can take fits their regions, all sources and parities") {
  for (const int world : {2, 3, 8, 16}) {
    CAPTURE(world);
    const fabric::ArenaLayout l = layout(world, 64 << 20);
    const std::int64_t peers = world - 1;
    CHECK(2 * peers * ll_capacity(l) * 2 <= ll_region(l).bytes);
    CHECK(2 * peers * lamport_capacity(l) <= lamport_region(l).bytes);
    CHECK(2 * peers * 2 * lamport_two_shot_capacity(l) / world <= lamport_region(l).bytes);
    for (const Region& region : {ll_region(l), lamport_region(l)}) {
      // A parity is the same half whatever it is used for.
      CHECK(2 * parity_lines(region) * kLineBytes <= region.bytes);
      for (const int parts : {1, 2}) {
        CHECK(parts * peers * lines_of_source(l, region, parts) <= parity_lines(region));
      }
    }
    CHECK(ll_capacity(l) > 16 << 10);
    CHECK(lamport_capacity(l) >= 1 << 20);
  }
  CHECK(lamport_capacity(layout(2, 64 << 20)) == 16 << 20);
  CHECK(ll_capacity(layout(2, 64 << 20)) == 512 << 10);
}

TEST_CASE("scratch too small to share is all slots") {
  for (const std::int64_t scratch : {std::int64_t{0}, std::int64_t{1000}, kLeastFlagged - 1}) {
    const fabric::ArenaLayout l = layout(2, scratch);
    CHECK(ll_capacity(l) == 0);
    CHECK(lamport_capacity(l) == 0);
    CHECK(lamport_two_shot_capacity(l) == 0);
    CHECK(slots_region(l).offset == 0);
    CHECK(slots_region(l).bytes == scratch);
  }
}

}  // namespace
}  // namespace weft::collectives::cuda
