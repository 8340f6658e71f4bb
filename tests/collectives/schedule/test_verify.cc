// The verifier accepts correct schedules and catches each way to break one, naming the place.
#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "collectives/schedule/ring.h"
#include "collectives/schedule/verify.h"

namespace {

using namespace weft::schedule;
using weft::Rank;
using weft::WorldSize;

Step& at(Schedule& schedule, int rank, int step) {
  return schedule.programs[static_cast<std::size_t>(rank)][static_cast<std::size_t>(step)];
}
Program& of(Schedule& schedule, int rank) {
  return schedule.programs[static_cast<std::size_t>(rank)];
}

// A way to break a ring of n ranks; what the sentence must say; how it is run.
struct Mutation {
  const char* name;
  std::function<void(Schedule&, int n)> apply;
  std::vector<const char*> says;
  VerifyOptions options{2, 4, false};
};

// Every rank sums each chunk in its own order: right sums, different bits.
Schedule own_orders(int n) {
  Schedule all{"own_orders", WorldSize(n), {}};
  for (int q = 0; q < n; ++q) {
    Program program;
    for (int chunk = 0; chunk < n; ++chunk) {
      for (int i = 0; i < n; ++i) {
        Step s;
        s.chunk = Chunk(chunk);
        s.source = i == 0 ? Source::input : Source::input_plus_slot;
        s.from = i == 0 ? kNobody : Rank((q + n - 1) % n);
        s.target = i < n - 1 ? Target::slot : Target::none;
        s.to = i < n - 1 ? Rank((q + 1) % n) : kNobody;
        s.keep = s.last_sum = i == n - 1;
        program.push_back(s);
      }
    }
    all.programs.push_back(std::move(program));
  }
  return all;
}

// A ring in which rank 0 reads its input of `chunk` once more, before its step number `step`.
Schedule with_late_read(int n, int step, int chunk) {
  Schedule all = ring::materialise(WorldSize(n));
  of(all, 0).insert(of(all, 0).begin() + step, Step{Chunk(chunk), Source::input});
  return all;
}

// Wrong chunks, peers, orders and copies.
std::vector<Mutation> wrong_steps() {
  return {
      {"wrong chunk",
       [](Schedule& s, int n) { at(s, 0, 1).chunk = Chunk((n - 1 + 1) % n); },
       {"rank 0 step 1 piece 0", "waits for chunk 0"}},
      {"chunk out of range",
       [](Schedule& s, int n) { at(s, 0, 1).chunk = Chunk(n); },
       {"rank 0 step 1", "is not one of the"}},
      {"missing first step",
       [](Schedule& s, int) { of(s, 0).erase(of(s, 0).begin()); },
       {"rank ", "step ", "piece "}},
      {"missing last step",
       [](Schedule& s, int) { of(s, 0).pop_back(); },
       {"pushes chunk", "to rank 0, which never receives it"}},
      {"swapped steps",
       [](Schedule& s, int) { std::swap(at(s, 0, 0), at(s, 0, 1)); },
       {"rank ", "step ", "piece "}},
      {"pushes to itself",
       [](Schedule& s, int) { at(s, 0, 0).to = Rank(0); },
       {"rank 0 step 0", "pushes to rank 0, which is no peer"}},
      {"waits for a rank that does not exist",
       [](Schedule& s, int n) { at(s, 0, 1).from = Rank(n); },
       {"rank 0 step 1", "which is no peer"}},
      {"missing keep",
       [](Schedule& s, int n) { at(s, 0, n - 1).keep = false; },
       {"rank 0 after its last step", "was never written"}},
      {"keeps its output",
       [](Schedule& s, int n) { at(s, 0, n).keep = true; },
       {"rank 0 step", "keeps what it read from its own output"}},
  };
}

// Contributions that come twice, too early, to the wrong place, or not at all.
std::vector<Mutation> wrong_sums() {
  return {
      {"double contribution",
       [](Schedule& s, int n) {
         at(s, n - 1, n - 1).target = Target::slot;
         at(s, 0, n).source = Source::input_plus_slot;
       },
       {"rank 0 step", "contribution to chunk 0 piece 0 a second time"}},
      {"output too early",
       [](Schedule& s, int n) { at(s, 0, n - 2).target = Target::output; },
       {"rank 0 step", "pushes an unfinished sum into the output of rank 1"}},
      {"finished piece into a slot",
       [](Schedule& s, int n) { at(s, 0, n - 1).target = Target::slot; },
       {"rank 1 step", "into its output, but rank 0 step", "into a slot"}},
      {"no wait for a slot",
       [](Schedule& s, int) { at(s, 0, 1).from = kNobody; },
       {"rank 0 step 1", "reads a slot without waiting"}},
      {"no wait for the output",
       [](Schedule& s, int n) { at(s, n - 1, n).from = kNobody; },
       {"rank ", "reads its output of chunk"}},
      {"last sum at the wrong step",
       [](Schedule& s, int n) {
         at(s, 0, n - 1).last_sum = false;
         at(s, 0, n - 2).last_sum = true;
       },
       {"rank 0 step", "marks the last sum of chunk", "which lacks rank"}},
      {"last sum not marked",
       [](Schedule& s, int n) { at(s, 0, n - 1).last_sum = false; },
       {"rank 0 step", "without marking it as the last"}},
      {"last sum without a reduction",
       [](Schedule& s, int n) { at(s, 0, n).last_sum = true; },
       {"rank 0 step", "marks a last sum, but reduces nothing"}},
      {"lost contribution",
       [](Schedule& s, int) { at(s, 0, 1).source = Source::input; },
       {"rank 0 step 1", "waits for a token, but"}},
      {"pushes twice",
       [](Schedule& s, int) { of(s, 0).insert(of(s, 0).begin(), at(s, 0, 0)); },
       {"rank 1 step", "but rank 0 step 1 piece 0 pushed chunk 0"}},
      {"pushes once more at the end",
       [](Schedule& s, int n) {
         of(s, 0).push_back(
             {Chunk(0), Source::output, Target::output, kNobody, Rank(1), false, false});
         (void)n;
       },
       {"rank 0 step", "rank 1"}},
      {"target without push",
       [](Schedule& s, int) { at(s, 0, 0).target = Target::none; },
       {"rank 0 step 0", "but pushes nothing"}},
  };
}

// Right sums, but no protocol.
std::vector<Mutation> wrong_order() {
  return {
      {"too few slots",
       [](Schedule&, int) {},
       {"deadlock: rank 0 step 0 piece 1", "free a slot"},
       {2, 1, false}},
      {"its own order on every rank",
       [](Schedule& s, int n) { s = own_orders(n); },
       {"rank 1 after its last step: its output of chunk 0 piece 0 is", "on a rank before it is"}},
      {"reads its input after it was overwritten",
       [](Schedule& s, int n) { s = with_late_read(n, 2 * n - 1, 0); },
       {"rank 0 step", "reads its input of chunk 0 piece 0 after rank", "overwrote it"},
       {2, 4, true}},
      {"reads its input while a peer may overwrite it",
       [](Schedule& s, int n) { s = with_late_read(n, 2 * n - 2, 2 % n); },
       {"rank 0 step", "piece 0", "and nothing orders that with the "},
       {2, 4, true}},
  };
}

std::vector<Mutation> mutations() {
  std::vector<Mutation> all = wrong_steps();
  for (auto* part : {wrong_sums, wrong_order}) {
    for (Mutation& mutation : part()) all.push_back(std::move(mutation));
  }
  return all;
}

}  // namespace

TEST_CASE("the ring is proven for 1 to 16 ranks, in place and not, with more slots than pieces") {
  for (int n = 1; n <= 16; ++n) {
    for (int pieces = 1; pieces <= 4; ++pieces) {
      for (int slots = pieces + 1; slots <= 2 * pieces + 1; ++slots) {
        for (const bool in_place : {false, true}) {
          CAPTURE(n);
          CAPTURE(pieces);
          CAPTURE(slots);
          CAPTURE(in_place);
          const auto flaw =
              verify_all_reduce(ring::materialise(WorldSize(n)), {pieces, slots, in_place});
          CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
        }
      }
    }
  }
}

TEST_CASE(
    "with as many slots as pieces, full slots wait for each other around a ring of three or more") {
  for (int n = 2; n <= 8; ++n) {
    const auto flaw = verify_all_reduce(ring::materialise(WorldSize(n)), {2, 2, false});
    CHECK(flaw.has_value() == (n > 2));
    if (flaw) CHECK(flaw->starts_with("deadlock: rank 0 step 1 piece 0 waits for rank 1 to free"));
  }
}

TEST_CASE("64 ranks are proven in less than two seconds") {
  const Schedule schedule = ring::materialise(WorldSize(64));
  const auto start = std::chrono::steady_clock::now();
  const auto flaw = verify_all_reduce(schedule, {4, 8, true});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  CHECK(took.count() < 30.0);
#else
  CHECK(took.count() < 2.0);
#endif
}

TEST_CASE("every broken ring is caught for 2 to 8 ranks, and the sentence names the place") {
  for (const Mutation& mutation : mutations()) {
    for (int n = 2; n <= 8; ++n) {
      const std::string name = mutation.name;
      CAPTURE(name);
      CAPTURE(n);
      Schedule schedule = ring::materialise(WorldSize(n));
      REQUIRE(!verify_all_reduce(schedule, {2, 4, mutation.options.in_place}).has_value());
      mutation.apply(schedule, n);
      const auto flaw = verify_all_reduce(schedule, mutation.options);
      REQUIRE(flaw.has_value());
      CAPTURE(*flaw);
      for (const char* part : mutation.says) CHECK(flaw->find(part) != std::string::npos);
    }
  }
}

TEST_CASE("a peer that does not exist for the wrong peer, on rings of three and more") {
  for (int n = 3; n <= 8; ++n) {
    CAPTURE(n);
    Schedule to = ring::materialise(WorldSize(n));
    at(to, 0, 0).to = Rank(2);
    CHECK(verify_all_reduce(to, {2, 4, false}).has_value());
    Schedule from = ring::materialise(WorldSize(n));
    at(from, 0, 1).from = Rank(1);
    const auto flaw = verify_all_reduce(from, {2, 4, false});
    REQUIRE(flaw.has_value());
    CHECK(flaw->find("rank ") != std::string::npos);
  }
}

TEST_CASE("what is wrong only in place is accepted out of place") {
  for (int n = 2; n <= 8; ++n) {
    CAPTURE(n);
    for (const Schedule& schedule :
         {with_late_read(n, 2 * n - 1, 0), with_late_read(n, 2 * n - 2, 2 % n)}) {
      const auto flaw = verify_all_reduce(schedule, {2, 4, false});
      CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
      CHECK(verify_all_reduce(schedule, {2, 4, true}).has_value());
    }
  }
}

TEST_CASE("a deadlock is told as the circle of waits, or as the rank that has ended") {
  const auto circle = verify_all_reduce(ring::materialise(WorldSize(3)), {2, 1, false});
  CHECK(circle ==
        "deadlock: rank 0 step 0 piece 1 waits for rank 1 to free a slot; rank 1 step 0 piece 1 "
        "waits for rank 2 to free a slot; rank 2 step 0 piece 1 waits for rank 0 to free a slot");
  Schedule idle = ring::materialise(WorldSize(2));
  of(idle, 1).clear();
  CHECK(verify_all_reduce(idle, {1, 2, false}) ==
        "deadlock: rank 0 step 1 piece 0 waits for a piece from rank 1, which has ended");
}

TEST_CASE("a schedule of the wrong shape is refused") {
  Schedule none{"none", WorldSize(2), {}};
  CHECK(verify_all_reduce(none, {1, 2, false}) == "the schedule has 0 programs for 2 ranks");
  const Schedule ring = ring::materialise(WorldSize(2));
  CHECK(verify_all_reduce(ring, {0, 2, false}).has_value());
  CHECK(verify_all_reduce(ring, {1, 0, false}).has_value());
}
