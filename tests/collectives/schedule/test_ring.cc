// The ring's step function: by hand for two and three ranks, and equal to the materialised list.
#include <doctest/doctest.h>

#include "collectives/schedule/ring.h"

namespace {

using namespace weft::schedule;
using weft::Rank;
using weft::WorldSize;

constexpr Step kAlone{Chunk(0), Source::input, Target::none, kNobody, kNobody, true, true};
static_assert(ring::step_count(WorldSize(1)) == 1);
static_assert(ring::step(WorldSize(1), Rank(0), 0) == kAlone);

static_assert(ring::step_count(WorldSize(3)) == 5 && ring::slot_steps(WorldSize(3)) == 2);
static_assert(ring::step(WorldSize(3), Rank(0), 0) ==
              Step{Chunk(0), Source::input, Target::slot, kNobody, Rank(1), false, false});
static_assert(ring::step(WorldSize(3), Rank(0), 1) == Step{Chunk(2), Source::input_plus_slot,
                                                           Target::slot, Rank(2), Rank(1), false,
                                                           false});
static_assert(ring::step(WorldSize(3), Rank(0), 2) == Step{Chunk(1), Source::input_plus_slot,
                                                           Target::output, Rank(2), Rank(1), true,
                                                           true});
static_assert(ring::step(WorldSize(3), Rank(0), 3) ==
              Step{Chunk(0), Source::output, Target::output, Rank(2), Rank(1), false, false});
static_assert(ring::step(WorldSize(3), Rank(0), 4) ==
              Step{Chunk(2), Source::output, Target::none, Rank(2), kNobody, false, false});

}  // namespace

TEST_CASE("step() equals the materialised ring up to 64 ranks") {
  for (int n = 1; n <= 64; ++n) {
    const WorldSize world(n);
    const Schedule all = ring::materialise(world);
    REQUIRE(all.programs.size() == static_cast<std::size_t>(n));
    CHECK(all.world == world);
    for (int rank = 0; rank < n; ++rank) {
      const Program& program = all.programs[static_cast<std::size_t>(rank)];
      REQUIRE(program.size() == static_cast<std::size_t>(ring::step_count(world)));
      bool equal = true;
      int slots = 0;
      for (int i = 0; i < ring::step_count(world); ++i) {
        const Step& step = program[static_cast<std::size_t>(i)];
        equal = equal && step == ring::step(world, Rank(rank), i);
        slots += step.target == Target::slot ? 1 : 0;
      }
      CHECK(equal);
      CHECK(slots == ring::slot_steps(world));
    }
  }
}

TEST_CASE("two ranks exchange halves in three steps") {
  const WorldSize two(2);
  CHECK(ring::step(two, Rank(1), 0) ==
        Step{Chunk(1), Source::input, Target::slot, kNobody, Rank(0), false, false});
  CHECK(ring::step(two, Rank(1), 1) ==
        Step{Chunk(0), Source::input_plus_slot, Target::output, Rank(0), Rank(0), true, true});
  CHECK(ring::step(two, Rank(1), 2) ==
        Step{Chunk(1), Source::output, Target::none, Rank(0), kNobody, false, false});
}
