// Links as the searches weigh them: a rate and a latency for every ordered pair.
//
// Invariants
//   1. A pair that may not be used has rate 0: quarantined, or without peer access and not over a
//      network.
//   2. Latencies are whole picoseconds, so that sums do not depend on the order; unknown counts as
//      none.
//   3. A link whose rate is not known weighs as one of its class does, roughly: rates are then for
//      comparing only.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "topology/topology.h"

namespace weft::topology {

inline constexpr double kUnlimitedRate = std::numeric_limits<double>::infinity();

class Weights {
 public:
  explicit Weights(const Topology& topology);

  int size() const { return n_; }
  double rate(int from, int to) const { return rates_[at(from, to)]; }
  std::int64_t latency(int from, int to) const { return latencies_[at(from, to)]; }
  // Takes a pair out, both ways.
  void remove(int a, int b) { rates_[at(a, b)] = rates_[at(b, a)] = 0; }
  // The rates there are above 0, each once, falling.
  std::vector<double> rates() const;
  // The greatest rate such that links of that rate and more lead from every device to every other.
  double joining_rate() const;

 private:
  std::size_t at(int from, int to) const {
    return static_cast<std::size_t>(from) * static_cast<std::size_t>(n_) +
           static_cast<std::size_t>(to);
  }
  bool all_joined(double least, bool backwards) const;

  int n_;
  std::vector<double> rates_;
  std::vector<std::int64_t> latencies_;
};

// Whether the link may carry data at all.
bool usable(const Link& link);

}  // namespace weft::topology
