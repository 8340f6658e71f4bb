// Planned faults on simulated devices: `weft_faults FIRST COUNT`.
//
// A seed is one fault of one random collective (fault_trial.h), of the next kind, on the next world
// of 2 to 8 ranks. Prints one line of JSON, and each problem to stderr; exit 1 if there was any.
// Ranges of seeds add up: bench/soak.py.
#include <algorithm>
#include <cstdio>
#include <map>

#include "core/base/error.h"
#include "tests/collectives/resources.h"
#include "tests/soak/fault_trial.h"
#include "tests/soak/program.h"

namespace weft::testing {
namespace {

constexpr int kLeastWorld = 2;
constexpr int kWorlds = 7;
constexpr std::int64_t kTimeout = 100'000'000;  // ns
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double kLatest = 2000;  // ms past the timeout
#else
constexpr double kLatest = 250;
#endif
constexpr int kBounds[] = {1, 2, 5, 10, 20, 50, 100, 250, 1000};

// How many times were below each bound, and the longest.
struct Times {
  Counts below;  // ms; "more": at or above the greatest bound
  double most = 0;

  void add(double ms) {
    const auto* bound = std::upper_bound(std::begin(kBounds), std::end(kBounds), ms);
    ++below[bound == std::end(kBounds) ? "more" : std::to_string(*bound)];
    most = std::max(most, ms);
  }
};

struct Totals {
  std::int64_t faults = 0;
  std::int64_t problems = 0;
  std::int64_t leaks = 0;
  Counts kinds;
  Counts worlds;
  Times late;
  Times recovery;
};

void run_trials(std::uint64_t first, std::uint64_t count, Totals& totals) {
  std::map<int, std::unique_ptr<FaultyFabric>> fabrics;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const int world = kLeastWorld + static_cast<int>(seed % kWorlds);
    const FaultKind kind = kFaultKinds[seed / kWorlds % kFaultKinds.size()];
    auto& faulty = fabrics[world];
    if (!faulty) faulty = std::make_unique<FaultyFabric>(world);
    TrialResult result = try_fault(*faulty, kind, seed, kTimeout);
    if (result.problem.empty() && result.late_ms > kLatest) {
      result.problem = concat(name(kind), ": the error came ", result.late_ms, " ms too late");
    }
    ++totals.faults;
    ++totals.kinds[name(kind)];
    ++totals.worlds[std::to_string(world)];
    totals.late.add(result.late_ms);
    totals.recovery.add(result.recovery_ms);
    if (result.problem.empty()) continue;
    ++totals.problems;
    std::fprintf(stderr, "seed %llu: %s\n", static_cast<unsigned long long>(seed),
                 result.problem.c_str());
  }
}

int try_faults(std::uint64_t first, std::uint64_t count) {
  Totals totals;
  const std::int64_t start = now_ns();
  FaultyFabric(int{kLeastWorld});  // makes what a process makes once, as a sanitizer's thread
  const Resources before;
  run_trials(first, count, totals);
  if (const Resources after = left_over(before); !(after == before)) {
    totals.leaks = 1;
    std::fprintf(stderr, "%s\n", concat("before: ", before, "; after: ", after).c_str());
  }
  const double seconds = static_cast<double>(now_ns() - start) * 1e-9;
  JsonLine line(first, count);
  line.add("faults", totals.faults).add("problems", totals.problems).add("leaks", totals.leaks);
  line.add("seconds", seconds);
  line.add("kinds", totals.kinds).add("ranks", totals.worlds);
  line.add("most_late_ms", totals.late.most).add("late_ms_below", totals.late.below);
  line.add("most_recovery_ms", totals.recovery.most);
  line.add("recovery_ms_below", totals.recovery.below);
  line.print();
  return totals.problems + totals.leaks == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::testing

int main(int count, char** arguments) {
  return weft::testing::run_seeds("weft_faults", count, arguments, weft::testing::try_faults);
}
