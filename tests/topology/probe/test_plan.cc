// Plans of measurements: which pairs go together, what fits in the time, and the time predicted.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "tests/core/expect_error.h"
#include "topology/probe/plan.h"

namespace {

using namespace weft::topology;

PlanInput machine(int devices, const PairGuess& pair) {
  PlanInput input;
  input.devices = devices;
  input.pairs.assign(static_cast<std::size_t>(devices * devices), pair);
  return input;
}

PairGuess nvlink() { return {true, true, 380e9, 0.7e-6, {}}; }

// Every pair by itself on the wires of one host.
PairGuess pcie() { return {true, true, 8e9, 2e-6, {1}}; }

std::map<std::pair<int, int>, int> times_measured(const Plan& plan, Engine engine, bool both,
                                                  std::int64_t bytes) {
  std::map<std::pair<int, int>, int> times;
  for (const Trial& trial : plan.trials) {
    if (trial.what == "all_pairs" || trial.engine != engine) continue;
    if (trial.both_directions != both || trial.bytes != bytes) continue;
    for (const Transfer& transfer : trial.transfers) ++times[{transfer.from, transfer.to}];
  }
  return times;
}

}  // namespace

TEST_CASE("pairs that share nothing go together: the rounds of a tournament") {
  for (int n = 2; n <= 16; ++n) {
    CAPTURE(n);
    const auto rounds = plan_rounds(machine(n, nvlink()));
    CHECK(static_cast<int>(rounds.size()) == (n % 2 == 0 ? n - 1 : n));
    std::set<std::pair<int, int>> seen;
    for (const auto& round : rounds) {
      std::set<int> busy;
      for (const auto& [a, b] : round) {
        CHECK(a < b);
        CHECK(busy.insert(a).second);
        CHECK(busy.insert(b).second);
        CHECK(seen.insert({a, b}).second);
      }
    }
    CHECK(static_cast<int>(seen.size()) == n * (n - 1) / 2);
  }
}

TEST_CASE("pairs that share a wire take turns, those on other wires do not wait for them") {
  PlanInput input = machine(8, pcie());
  CHECK(plan_rounds(input).size() == 28);
  // Two sockets of four: pairs within a socket share that socket's wires alone.
  for (int a = 0; a < 8; ++a) {
    for (int b = 0; b < 8; ++b) {
      std::vector<int>& wires = input.pairs[static_cast<std::size_t>(a * 8 + b)].shared;
      wires = a / 4 == b / 4 ? std::vector{a / 4} : std::vector{0, 1, 2};
    }
  }
  CHECK(plan_rounds(input).size() == 16 + 6);
}

TEST_CASE("every ordered pair is measured by every engine, one way and both, and so is the host") {
  const Plan plan = plan_measurement(machine(4, nvlink()), 20);
  for (const std::int64_t size : {1 << 20, 16 << 20, 256 << 20}) {
    for (const Engine engine : {Engine::copy_engine, Engine::sm_push, Engine::sm_pull}) {
      for (const bool both : {false, true}) {
        const auto times = times_measured(plan, engine, both, size);
        CHECK(times.size() == 12);
        CHECK(std::all_of(times.begin(), times.end(), [](auto& t) { return t.second == 1; }));
      }
    }
  }
  CHECK(times_measured(plan, Engine::flag, false, 4).size() == 12);
  CHECK(times_measured(plan, Engine::copy_engine, false, 64 << 20).size() == 8);
  CHECK(times_measured(plan, Engine::copy_engine, true, 64 << 20).size() == 8);
  const auto all = std::find_if(plan.trials.begin(), plan.trials.end(),
                                [](const Trial& trial) { return trial.what == "all_pairs"; });
  REQUIRE(all != plan.trials.end());
  CHECK(all->transfers.size() == 12);
  CHECK(plan.notes.empty());
}

TEST_CASE("two devices take less than 5 s and eight less than 20 s, whatever joins them") {
  for (const PairGuess& pair : {nvlink(), pcie()}) {
    for (const int n : {1, 2, 4, 8}) {
      CAPTURE(n);
      CAPTURE(pair.bytes_per_second);
      const PlanInput input = machine(n, pair);
      const Plan plan = plan_measurement(input, default_budget(n));
      CHECK(plan.seconds <= (n <= 2 ? 5.0 : 20.0));
      // The prediction is made of what the links are supposed to give: it is no less than that.
      double bytes = 0;
      for (const Trial& trial : plan.trials) {
        if (trial.engine == Engine::flag || trial.transfers.front().from == kHostMemory) continue;
        bytes += static_cast<double>(trial.bytes) * trial.repeats * (1 + trial.samples);
      }
      CHECK(plan.seconds >= bytes / (1.5 * 380e9));
      CHECK(std::all_of(plan.trials.begin(), plan.trials.end(),
                        [](const Trial& trial) { return trial.samples >= 3; }));
    }
  }
  CHECK(default_budget(2) == 5.0);
  CHECK(default_budget(8) == 20.0);
}

TEST_CASE("slow links get smaller transfers and fewer samples, and the plan says so") {
  const Plan fast = plan_measurement(machine(8, nvlink()), 20);
  const Plan slow = plan_measurement(machine(8, pcie()), 20);
  CHECK(fast.largest == 256 << 20);
  CHECK(slow.largest < fast.largest);
  REQUIRE(slow.notes.size() == 1);
  CHECK(slow.notes[0].starts_with("measure: transfers of up to "));
}

TEST_CASE("what cannot be reached is measured by copies alone, the quarantined not at all") {
  PlanInput input = machine(3, nvlink());
  input.pairs[1].reachable = false;  // 0, 1
  input.pairs[2].usable = false;     // 0, 2
  const Plan plan = plan_measurement(input, 20);
  for (const Trial& trial : plan.trials) {
    for (const Transfer& transfer : trial.transfers) {
      const std::pair<int, int> pair = std::minmax(transfer.from, transfer.to);
      CHECK(pair != std::pair(0, 2));
      if (pair == std::pair(0, 1)) CHECK(trial.engine == Engine::copy_engine);
    }
  }
}

TEST_CASE("little memory means small transfers") {
  PlanInput input = machine(2, nvlink());
  input.most_bytes = 20 << 20;
  CHECK(plan_measurement(input, 5).largest == 16 << 20);
  input.most_bytes = 4096;
  CHECK(plan_measurement(input, 5).largest == 4096);
}

TEST_CASE("a plan needs a guess for each pair") {
  PlanInput input = machine(3, nvlink());
  input.pairs.pop_back();
  expect_error(weft::ErrorCode::invalid_argument, [&] { plan_measurement(input, 5); });
}
