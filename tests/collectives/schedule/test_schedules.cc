// Every schedule of every collective keeps its contract: proven from 1 to 64 ranks, and for the
// sizes of large machines.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "collectives/schedule/halving_doubling.h"
#include "collectives/schedule/hierarchical.h"
#include "collectives/schedule/lanes.h"
#include "collectives/schedule/moves.h"
#include "collectives/schedule/partial.h"
#include "collectives/schedule/ring.h"
#include "collectives/schedule/two_shot.h"
#include "collectives/schedule/verify.h"
#include "core/base/error.h"

namespace {

using namespace weft::schedule;
using weft::Rank;
using weft::WorldSize;
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized =
    true;  // the verifier is one thread: large machines would only take long
#else
constexpr bool kSanitized = false;
#endif

using Groups = std::vector<std::vector<Rank>>;

Groups groups(int n, int size) {
  Groups all;
  for (int r = 0; r < n; ++r) {
    if (r % size == 0) all.emplace_back();
    all.back().push_back(Rank(r));
  }
  return all;
}

struct Case {
  std::string name;
  Schedule schedule;
  Contract contract;
  bool in_place;  // whether it must also work in place
};

void add_all_reduces(int n, std::vector<Case>& cases) {
  const WorldSize world(n);
  const auto add = [&](std::string name, Schedule s, bool in_place) {
    Contract contract = contracts::all_reduce(s);
    cases.push_back({std::move(name), std::move(s), std::move(contract), in_place});
  };
  add("ring", ring::materialise(world), true);
  add("one_shot", one_shot::materialise(world), true);
  add("one_shot_pull", one_shot_pull::materialise(world), n == 1);
  add("two_shot", two_shot::materialise(world), true);
  add("push_two_shot", push_two_shot::materialise(world), true);
  add("halving_doubling", halving_doubling::materialise(world), true);
  for (int m = 1; m <= n; ++m) {
    if (n % m != 0) continue;
    add("hierarchical " + std::to_string(m), hierarchical::materialise(world, groups(n, m)), true);
  }
}

void add_partial(int n, std::vector<Case>& cases) {
  const WorldSize world(n);
  for (Schedule s :
       {reduce_scatter_pull::materialise(world), reduce_scatter_push::materialise(world),
        reduce_scatter_ring::materialise(world)}) {
    Contract contract = contracts::reduce_scatter(s);
    cases.push_back(
        {weft::concat("reduce_scatter ", s.name), std::move(s), std::move(contract), false});
  }
  for (Schedule s : {moves::all_gather(world), moves::all_gather(world, Target::slot),
                     all_gather_ring::materialise(world)}) {
    Contract contract = contracts::all_gather(s);
    cases.push_back(
        {weft::concat("all_gather ", s.name), std::move(s), std::move(contract), false});
  }
  for (const Target into : {Target::output, Target::slot}) {
    Schedule exchange = moves::all_to_all(world, into);
    Contract contract = contracts::all_to_all(exchange);
    cases.push_back({"all_to_all", std::move(exchange), std::move(contract), false});
  }
}

void add_rooted(int n, Rank root, std::vector<Case>& cases) {
  const WorldSize world(n);
  const auto add = [&](const char* name, Schedule s, Contract contract, bool in_place) {
    cases.push_back(
        {weft::concat(name, " from ", root), std::move(s), std::move(contract), in_place});
  };
  const Schedule r = reduce_two_shot::materialise(world, root);
  add("reduce", r, contracts::reduce(r, root), true);
  // A shift by the root's number, and the last rank left out.
  std::vector<Rank> to;
  for (int i = 0; i < n; ++i) to.push_back(Rank((i + root.value()) % n));
  to.back() = kNobody;
  for (const Target into : {Target::output, Target::slot}) {
    const Schedule b = moves::broadcast(world, root, into);
    add("broadcast", b, contracts::broadcast(b, root), true);
    const Schedule g = moves::gather(world, root, into);
    add("gather", g, contracts::gather(g, root), false);
    const Schedule s = moves::scatter(world, root, into);
    add("scatter", s, contracts::scatter(s, root), false);
    const Schedule p = moves::permute(world, to, into);
    add("send_recv", p, contracts::permute(p, to), false);
  }
}

std::vector<Case> all_cases(int n) {
  std::vector<Case> cases;
  add_all_reduces(n, cases);
  add_partial(n, cases);
  add_rooted(n, Rank(0), cases);
  if (n > 1) add_rooted(n, Rank(n - 1), cases);
  if (n > 2) add_rooted(n, Rank(n / 2), cases);
  return cases;
}

void prove(int n, int pieces) {
  for (const Case& c : all_cases(n)) {
    for (const bool in_place : {false, true}) {
      if (in_place && !c.in_place) continue;
      CAPTURE(n);
      CAPTURE(pieces);
      CAPTURE(in_place);
      CAPTURE(c.name);
      const auto flaw = verify(c.schedule, c.contract, {pieces, 2 * pieces, in_place});
      CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
    }
  }
}

}  // namespace

TEST_CASE("every schedule of every collective is proven from 1 to 17 ranks") {
  for (int n = 1; n <= 17; ++n) {
    for (const int pieces : {1, 2, 3}) {
      if (n <= 9 || pieces == 1 || !kSanitized) prove(n, pieces);
    }
  }
}

TEST_CASE("every schedule of every collective is proven for 18 to 64 ranks" *
          doctest::test_suite("slow")) {
  for (int n = 18; n <= 64; ++n) prove(n, 1);
}

TEST_CASE("every schedule of every collective is proven for 32, 48, 63 and 64 ranks") {
  for (const int n : {32, 48, 63, 64}) {
    if (n <= 32 || !kSanitized) prove(n, 1);
  }
}

TEST_CASE("ring, two-shot and hierarchical are proven for 72 and 576 ranks, fast") {
  for (const int n : {72, 576}) {
    if (n > 72 && kSanitized) continue;
    const WorldSize world(n);
    for (const Schedule& s :
         {ring::materialise(world), two_shot::materialise(world), push_two_shot::materialise(world),
          hierarchical::materialise(world, groups(n, 72)),
          hierarchical::materialise(world, groups(n, n == 72 ? 8 : 64))}) {
      const std::string name = s.name;
      CAPTURE(n);
      CAPTURE(name);
      const auto start = std::chrono::steady_clock::now();
      const auto flaw = verify_all_reduce(s, {1, 2, true});
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
      MESSAGE(name, " of ", n, " ranks: proven in ", took.count(), " s");
      CHECK((kSanitized || took.count() < 10.0));  // 2 s on an idle core; tests share theirs
    }
  }
}

TEST_CASE("a pull in place is caught, and so is a rank that may not have begun or ended") {
  for (int n = 2; n <= 8; ++n) {
    const WorldSize world(n);
    CAPTURE(n);
    const auto in_place = verify_all_reduce(one_shot_pull::materialise(world), {1, 2, true});
    REQUIRE(in_place.has_value());
    CHECK(in_place->find("overwrote it") + in_place->find("nothing orders that") !=
          2 * std::string::npos);

    // Rank 1 does not say that it has begun.
    Schedule early = two_shot::materialise(world);
    std::erase_if(early.programs[1],
                  [](const Step& s) { return s.target == Target::token && s.to == Rank(0); });
    early.programs[0][static_cast<std::size_t>(n - 1)].group = 0;
    std::vector<Rank> others;
    for (int r = 0; r < n; ++r) {
      if (r != 1) others.push_back(Rank(r));
    }
    early.groups.push_back(others);
    CHECK(verify_all_reduce(early, {1, 2, false}).has_value());

    // Nobody waits to be told that its input has been read.
    Schedule late = one_shot_pull::materialise(world);
    for (auto& program : late.programs) program.resize(static_cast<std::size_t>(n));
    const auto unread = verify_all_reduce(late, {1, 2, false});
    REQUIRE(unread.has_value());
    CHECK(unread->find("may still be read by") != std::string::npos);
  }
}

TEST_CASE("a push into an output without its owner's leave is caught") {
  for (int n = 2; n <= 8; ++n) {
    CAPTURE(n);
    Schedule s = moves::all_gather(WorldSize(n));
    // Rank 0 neither waits for the others' tokens nor gets them.
    for (int r = 1; r < n; ++r) {
      std::erase_if(s.programs[static_cast<std::size_t>(r)], [](const Step& step) {
        return step.target == Target::token && step.to == Rank(0);
      });
    }
    for (Step& step : s.programs[0]) {
      if (step.target == Target::output) step.from = kNobody;
    }
    const auto flaw = verify(s, contracts::all_gather(s), {1, 2, false});
    REQUIRE(flaw.has_value());
    CHECK(flaw->find("which may not have begun") != std::string::npos);
  }
}

TEST_CASE("what a contract does not promise may not be written") {
  Schedule s = moves::gather(WorldSize(3), Rank(0));
  s.programs[1].push_back(s.programs[0][2]);  // keeps its input in its own output
  s.programs[1].back().keep = true;
  s.programs[1].back().source = Source::input;
  s.programs[1].back().chunk = Chunk(0);
  s.programs[1].back().target = Target::none;
  s.programs[1].back().from = s.programs[1].back().to = kNobody;
  const auto flaw = verify(s, contracts::gather(s, Rank(0)), {1, 2, false});
  REQUIRE(flaw.has_value());
  CHECK(flaw->find("was written by rank 1") != std::string::npos);
}

TEST_CASE("slot lanes are numbered for each owner, without gaps") {
  for (int n = 1; n <= 16; ++n) {
    const Prepared one = prepare(ring::materialise(WorldSize(n)));
    const Prepared all = prepare(push_two_shot::materialise(WorldSize(n)));
    CHECK(one.slot_lanes == (n > 1 ? 1 : 0));
    CHECK(all.slot_lanes == n - 1);
    for (int owner = 0; owner < n; ++owner) {
      std::vector<bool> seen(static_cast<std::size_t>(n), false);
      for (int from = 0; from < n; ++from) {
        const int lane = all.lane(owner, from);
        CHECK((lane < 0) == (from == owner));
        if (lane < 0) continue;
        CHECK(!seen[static_cast<std::size_t>(lane)]);
        seen[static_cast<std::size_t>(lane)] = true;
      }
    }
  }
}
