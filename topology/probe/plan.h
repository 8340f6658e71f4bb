// What to measure, in which order, and how long that takes: a plan made from what is known of the
// links, before anything runs.
//
// Pairs that share nothing are measured at the same time: the pairs of a round have no device in
// common, nor a wire where the wires are known. Where all are joined directly or by switches these
// are the rounds of a round-robin tournament. Samples and sizes are as many as fit in the budget.
//
// Invariant: a plan is plain data and depends on its inputs alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "topology/topology.h"

namespace weft::topology {

enum class Engine : std::uint8_t { copy_engine, sm_push, sm_pull, flag };
const char* engine_name(Engine engine);  // "copy_engine", ...

// Data goes from one device to the other, or kHostMemory; `flag`: `from` throws.
struct Transfer {
  int from = 0;
  int to = 0;
};

// Transfers that run at the same time, and how often.
struct Trial {
  std::string what;  // "bandwidth", "latency" or "all_pairs"
  Engine engine = Engine::copy_engine;
  bool both_directions = false;
  std::int64_t bytes = 0;    // of each transfer; 4 for flags
  std::int32_t repeats = 1;  // transfers a sample
  std::int32_t samples = 1;  // besides one that warms up
  std::vector<Transfer> transfers;
  double seconds = 0;  // predicted
};

struct Plan {
  std::vector<Trial> trials;
  double seconds = 0;              // predicted, setting up included
  std::int64_t largest = 0;        // bytes of the largest transfer
  std::vector<std::string> notes;  // what was left out
};

// What is known of a pair of devices, in either direction.
struct PairGuess {
  bool reachable = true;  // each addresses the other's memory: kernels and flags can be used
  bool usable = true;     // false: quarantined, to be left alone
  double bytes_per_second = 8e9;
  double latency_seconds = 2e-6;
  // What the pair uses beside its two devices, e.g. wires, by any numbers. Pairs that share one are
  // not measured at the same time.
  std::vector<int> shared;
};

struct PlanInput {
  int devices = 0;
  std::vector<PairGuess> pairs;  // devices x devices, row-major; [i][j] with i < j counts
  double host_bytes_per_second = 20e9;
  std::int64_t most_bytes = std::int64_t{256} << 20;  // what memory allows
};

// Seconds that a measurement of so many devices may take: 5 for up to 2, 20 for 8.
double default_budget(int devices);

// Unordered pairs in rounds; pairs of one round share nothing.
std::vector<std::vector<std::pair<int, int>>> plan_rounds(const PlanInput& input);

Plan plan_measurement(const PlanInput& input, double budget_seconds);

}  // namespace weft::topology
