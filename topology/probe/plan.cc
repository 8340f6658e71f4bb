// See plan.h.
#include "topology/probe/plan.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace weft::topology {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr Engine kMovers[] = {Engine::copy_engine, Engine::sm_push, Engine::sm_pull};

// What things cost beside the transfers, seconds: rather too much than too little.
constexpr double kSetUpEach = 0.25;     // contexts, memory and kernels of a device
constexpr double kSampleCost = 150e-6;  // gates, events and waits
constexpr double kTransferCost = 6e-6;  // to enqueue one
constexpr double kShortSample = 2.5e-3;
constexpr std::int32_t kMostRepeats = 32;
constexpr std::int32_t kFlagRounds = 200;

// How thoroughly to measure, the best first.
struct Depth {
  std::vector<std::int64_t> sizes;
  std::int32_t samples;
};
const std::vector<Depth>& depths() {
  static const auto& all = *new std::vector<Depth>{{{kMiB, 16 * kMiB, 256 * kMiB}, 7},
                                                   {{kMiB, 16 * kMiB, 256 * kMiB}, 5},
                                                   {{kMiB, 16 * kMiB, 256 * kMiB}, 3},
                                                   {{kMiB, 16 * kMiB, 64 * kMiB}, 3},
                                                   {{kMiB, 16 * kMiB}, 3},
                                                   {{16 * kMiB}, 3},
                                                   {{4 * kMiB}, 3}};
  return all;
}

const PairGuess& guess_of(const PlanInput& input, int a, int b) {
  const auto [low, high] = std::pair<int, int>(std::minmax(a, b));
  return input.pairs[static_cast<std::size_t>(low * input.devices + high)];
}

double rate_of(const PlanInput& input, const Transfer& transfer) {
  const bool host = transfer.from == kHostMemory || transfer.to == kHostMemory;
  return host ? input.host_bytes_per_second
              : guess_of(input, transfer.from, transfer.to).bytes_per_second;
}

// Fills in repeats and the predicted time. `sharing`: transfers that have to share each rate.
void predict(const PlanInput& input, double sharing, Trial* trial) {
  double slowest = 0;
  for (const Transfer& transfer : trial->transfers) {
    const double seconds =
        trial->engine == Engine::flag
            ? kFlagRounds * 2 * guess_of(input, transfer.from, transfer.to).latency_seconds
            : sharing * static_cast<double>(trial->bytes) / rate_of(input, transfer);
    slowest = std::max(slowest, seconds);
  }
  const double wanted = std::ceil(kShortSample / slowest);
  const double most = std::min<double>(kMostRepeats, std::max(1.0, wanted));
  trial->repeats = trial->engine == Engine::flag ? kFlagRounds : static_cast<std::int32_t>(most);
  const std::int32_t enqueued = trial->engine == Engine::flag ? 1 : trial->repeats;
  const double sample = kSampleCost +
                        (trial->engine == Engine::flag ? slowest : enqueued * slowest) +
                        kTransferCost * enqueued * static_cast<double>(trial->transfers.size());
  trial->seconds = (1 + trial->samples) * sample;
}

class Planner {
 public:
  Planner(const PlanInput& input, const Depth& depth) : input_(input), depth_(depth) {
    for (const std::int64_t size : depth.sizes) {
      if (size <= input.most_bytes) sizes_.push_back(size);
    }
    if (sizes_.empty()) sizes_.push_back(std::max<std::int64_t>(input.most_bytes, 16));
  }

  Plan make() {
    for (const auto& round : plan_rounds(input_)) add_round(round);
    if (input_.devices > 1) add_all_pairs();
    for (int device = 0; device < input_.devices; ++device) add_host(device);
    plan_.largest = sizes_.back();
    plan_.seconds = kSetUpEach * input_.devices;
    for (const Trial& trial : plan_.trials) plan_.seconds += trial.seconds;
    return std::move(plan_);
  }

 private:
  using Round = std::vector<std::pair<int, int>>;

  void add(Trial trial, double sharing = 1) {
    if (trial.transfers.empty()) return;
    trial.samples = depth_.samples;
    predict(input_, sharing, &trial);
    plan_.trials.push_back(std::move(trial));
  }

  // Every pair forwards, backwards, or both ways at once. Kernels and flags only where they reach.
  std::vector<Transfer> transfers(const Round& round, Engine engine, bool forwards,
                                  bool backwards) const {
    std::vector<Transfer> found;
    for (const auto& [a, b] : round) {
      if (engine != Engine::copy_engine && !guess_of(input_, a, b).reachable) continue;
      if (forwards) found.push_back({a, b});
      if (backwards) found.push_back({b, a});
    }
    return found;
  }

  void add_round(const Round& round) {
    for (const std::int64_t size : sizes_) {
      for (const Engine engine : kMovers) {
        add({"bandwidth", engine, false, size, 1, 1, transfers(round, engine, true, false)});
        add({"bandwidth", engine, false, size, 1, 1, transfers(round, engine, false, true)});
        add({"bandwidth", engine, true, size, 1, 1, transfers(round, engine, true, true)});
      }
    }
    add({"latency", Engine::flag, false, 4, 1, 1, transfers(round, Engine::flag, true, false)});
    add({"latency", Engine::flag, false, 4, 1, 1, transfers(round, Engine::flag, false, true)});
  }

  // Every device to every other at once, each with its share of the largest transfer's memory.
  void add_all_pairs() {
    const int others = input_.devices - 1;
    const std::int64_t share = std::max<std::int64_t>(sizes_.back() / others / 4096 * 4096, 16);
    Round every;
    for (int a = 0; a < input_.devices; ++a) {
      for (int b = a + 1; b < input_.devices; ++b) {
        if (guess_of(input_, a, b).usable) every.emplace_back(a, b);
      }
    }
    for (const Engine engine : {Engine::copy_engine, Engine::sm_push}) {
      add({"all_pairs", engine, true, share, 1, 1, transfers(every, engine, true, true)}, others);
    }
  }

  void add_host(int device) {
    const std::int64_t size = std::min(sizes_.back(), 64 * kMiB);
    const Transfer down{kHostMemory, device};
    const Transfer up{device, kHostMemory};
    add({"bandwidth", Engine::copy_engine, false, size, 1, 1, {down}});
    add({"bandwidth", Engine::copy_engine, false, size, 1, 1, {up}});
    add({"bandwidth", Engine::copy_engine, true, size, 1, 1, {down, up}});
  }

  const PlanInput& input_;
  const Depth& depth_;
  std::vector<std::int64_t> sizes_;
  Plan plan_;
};

// The pairs of a round-robin tournament, round after round (the circle method).
std::vector<std::pair<int, int>> tournament(int devices) {
  std::vector<std::pair<int, int>> pairs;
  const int seats = devices + devices % 2;  // an odd one out sits with nobody
  for (int round = 0; round + 1 < seats; ++round) {
    for (int i = 0; i < seats / 2; ++i) {
      const int turning = seats - 1;
      const int a = i == 0 ? turning : (round + i) % turning;
      const int b = (round + turning - i) % turning;
      if (a < devices && b < devices) pairs.push_back(std::minmax(a, b));
    }
  }
  return pairs;
}

bool share_something(const PlanInput& input, std::pair<int, int> p, std::pair<int, int> q) {
  if (p.first == q.first || p.first == q.second || p.second == q.first || p.second == q.second) {
    return true;
  }
  const std::vector<int>& mine = guess_of(input, p.first, p.second).shared;
  const std::vector<int>& theirs = guess_of(input, q.first, q.second).shared;
  return std::any_of(mine.begin(), mine.end(), [&](int thing) {
    return std::find(theirs.begin(), theirs.end(), thing) != theirs.end();
  });
}

}  // namespace

const char* engine_name(Engine engine) {
  constexpr const char* kNames[] = {"copy_engine", "sm_push", "sm_pull", "flag"};
  return kNames[static_cast<std::size_t>(engine)];
}

double default_budget(int devices) { return devices <= 2 ? 5.0 : 2.5 * devices; }

std::vector<std::vector<std::pair<int, int>>> plan_rounds(const PlanInput& input) {
  std::vector<std::vector<std::pair<int, int>>> rounds;
  for (const auto& pair : tournament(input.devices)) {
    if (!guess_of(input, pair.first, pair.second).usable) continue;
    const auto free = std::find_if(rounds.begin(), rounds.end(), [&](const auto& round) {
      return std::none_of(round.begin(), round.end(),
                          [&](const auto& other) { return share_something(input, pair, other); });
    });
    (free == rounds.end() ? rounds.emplace_back() : *free).push_back(pair);
  }
  return rounds;
}

Plan plan_measurement(const PlanInput& input, double budget_seconds) {
  if (input.pairs.size() !=
      static_cast<std::size_t>(input.devices) * static_cast<std::size_t>(input.devices)) {
    fail(ErrorCode::invalid_argument, "a plan for ", input.devices, " devices needs a guess for ",
         "each ordered pair, and has ", input.pairs.size());
  }
  Plan plan;
  for (const Depth& depth : depths()) {
    plan = Planner(input, depth).make();
    if (plan.seconds <= budget_seconds) break;
  }
  if (plan.largest < depths().front().sizes.back()) {
    plan.notes.push_back(concat("measure: transfers of up to ", plan.largest,
                                " bytes, as larger ones would not fit in time or memory"));
  }
  return plan;
}

}  // namespace weft::topology
