// Rings. See search.h.
//
// Up to kExactDevices: the greatest bottleneck by bisection over the rates, where whether a ring
// exists is found by dynamic programming over subsets; then, over the links that are fast enough,
// the ring of least latency (Held and Karp, "A dynamic programming approach to sequencing
// problems", J. SIAM 10, 1962) and of those the first in order. Latencies are summed as whole
// picoseconds, so that equal rings compare equal.
//
// Above: paths that grow to the nearest device and turn round where they are stuck (Posa,
// "Hamiltonian circuits in random graphs", Discrete Math. 14, 1976), at the greatest rate at which
// that succeeds; and an upper bound, so that it is known whether there can be better.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

#include "topology/search.h"
#include "topology/weights.h"

namespace weft::topology {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max() / 4;

// Rings that start at the last device, over the others by number: sets of them are bits.
class ExactRing {
 public:
  ExactRing(const Weights& weights, double least)
      : n_(weights.size()), others_(n_ - 1), joined_(at(n_)), weights_(weights), least_(least) {
    for (int a = 0; a < n_; ++a) {
      for (int b = 0; b < n_; ++b) {
        if (a != b && weights.rate(a, b) >= least) joined_[at(a)] |= 1u << unsigned(b);
      }
    }
  }

  // Whether there is any.
  bool exists() const {
    const std::uint32_t all = (1u << unsigned(others_)) - 1;
    std::vector<std::uint32_t> ends(at(all) + 1);  // where a path over this set may end
    for (int first = 0; first < others_; ++first) {
      if (joined(others_, first)) ends[at(1) << first] = 1u << unsigned(first);
    }
    for (std::uint32_t set = 1; set <= all; ++set) {
      for (int end = 0; end < others_; ++end) {
        if ((ends[set] >> unsigned(end) & 1u) == 0) continue;
        const std::uint32_t next = joined_[at(end)] & all & ~set;
        for (int to = 0; to < others_; ++to) {
          if (next >> unsigned(to) & 1u) ends[set | 1u << unsigned(to)] |= 1u << unsigned(to);
        }
      }
    }
    for (int end = 0; end < others_; ++end) {
      if ((ends[all] >> unsigned(end) & 1u) && joined(end, others_)) return true;
    }
    return false;
  }

  // The nearest of them from device 0; there is one.
  std::vector<int> nearest() const {
    const std::uint32_t all = (1u << unsigned(n_)) - 1;
    // The latency from `at`, having been to `set`, over what is left and back to device 0.
    std::vector<std::int64_t> rest((at(all) + 1) * at(n_), kFar);
    for (std::uint32_t set = all; set >= 1; --set) {
      if ((set & 1u) == 0) continue;
      for (int here = 0; here < n_; ++here) {
        if ((set >> unsigned(here) & 1u) == 0) continue;
        std::int64_t& best = rest[at(set) * at(n_) + at(here)];
        if (set == all) {
          if (joined(here, 0)) best = weights_.latency(here, 0);
          continue;
        }
        for (int to = 1; to < n_; ++to) best = std::min(best, onward(rest, set, here, to));
      }
    }
    std::vector<int> ring{0};
    std::uint32_t set = 1;
    while (set != all) {
      const int here = ring.back();
      int to = 1;
      while (onward(rest, set, here, to) != rest[at(set) * at(n_) + at(here)]) ++to;
      ring.push_back(to);
      set |= 1u << unsigned(to);
    }
    return ring;
  }

 private:
  bool joined(int from, int to) const { return (joined_[at(from)] >> unsigned(to) & 1u) != 0; }

  std::int64_t onward(const std::vector<std::int64_t>& rest, std::uint32_t set, int here,
                      int to) const {
    if ((set >> unsigned(to) & 1u) != 0 || !joined(here, to)) return kFar;
    const std::int64_t left = rest[at(set | 1u << unsigned(to)) * at(n_) + at(to)];
    return left >= kFar ? kFar : weights_.latency(here, to) + left;
  }

  int n_, others_;
  std::vector<std::uint32_t> joined_;  // by device: those it is joined to
  const Weights& weights_;
  double least_;
};

// A ring over links that are fast enough both ways, grown and turned round.
class GrownRing {
 public:
  GrownRing(const Weights& weights, double least)
      : n_(weights.size()), weights_(weights), least_(least), used_(at(n_)), tried_(at(n_)) {}

  // Empty if it was not found.
  std::vector<int> find() {
    path_ = {0};
    used_[0] = true;
    int turns = n_;
    while (path_.size() < at(n_)) {
      const int next = nearest_free(path_.back());
      if (next >= 0) {
        path_.push_back(next);
        used_[at(next)] = true;
        tried_.assign(at(n_), false);
      } else if (turns-- == 0 || !turn()) {
        return {};
      }
    }
    tried_.assign(at(n_), false);
    while (!joined(path_.back(), 0)) {
      if (turns-- == 0 || !turn()) return {};
    }
    return path_;
  }

 private:
  bool joined(int a, int b) const {
    return weights_.rate(a, b) >= least_ && weights_.rate(b, a) >= least_;
  }

  int nearest_free(int from) const {
    int best = -1;
    for (int to = 0; to < n_; ++to) {
      if (used_[at(to)] || !joined(from, to)) continue;
      if (best < 0 || weights_.latency(from, to) < weights_.latency(from, best)) best = to;
    }
    return best;
  }

  bool any_free(int from) const {
    for (int to = 0; to < n_; ++to) {
      if (!used_[at(to)] && joined(from, to)) return true;
    }
    return false;
  }

  // Turns the path's tail round so that it ends elsewhere, at an end that was not tried yet.
  bool turn() {
    const int end = path_.back();
    tried_[at(end)] = true;
    std::size_t best = path_.size();
    for (std::size_t i = 0; i + 2 < path_.size(); ++i) {
      const int other = path_[i + 1];
      if (tried_[at(other)] || !joined(path_[i], end)) continue;
      if (best == path_.size()) best = i;
      const bool ends_well = path_.size() == at(n_) ? joined(other, 0) : any_free(other);
      if (!ends_well) continue;
      best = i;
      break;
    }
    if (best == path_.size()) return false;
    std::reverse(path_.begin() + static_cast<std::ptrdiff_t>(best) + 1, path_.end());
    return true;
  }

  int n_;
  const Weights& weights_;
  double least_;
  std::vector<bool> used_, tried_;
  std::vector<int> path_;
};

// No ring has a greater bottleneck: every device needs a link in and one out, of different
// neighbours, and all must be joined.
double ring_bound(const Weights& weights) {
  double bound = weights.joining_rate();
  for (int a = 0; a < weights.size(); ++a) {
    std::vector<double> out, in, both;
    for (int b = 0; b < weights.size(); ++b) {
      if (a == b) continue;
      out.push_back(weights.rate(a, b));
      in.push_back(weights.rate(b, a));
      both.push_back(std::max(out.back(), in.back()));
    }
    bound = std::min({bound, *std::max_element(out.begin(), out.end()),
                      *std::max_element(in.begin(), in.end())});
    std::nth_element(both.begin(), both.begin() + 1, both.end(), std::greater<>());
    bound = std::min(bound, both[1]);
  }
  return bound;
}

// The greatest of the rates, which fall, for which make(rate) gives a ring; empty if none does.
template <class Make>
std::vector<int> bisect(const std::vector<double>& rates, const Make& make) {
  std::vector<int> best;
  std::size_t low = 0, high = rates.size();
  while (low < high) {
    // The first try is the greatest rate: it mostly is the answer.
    const std::size_t middle = low == 0 && high == rates.size() ? 0 : (low + high) / 2;
    std::vector<int> ring = make(rates[middle]);
    if (ring.empty()) {
      low = middle + 1;
    } else {
      best = std::move(ring);
      high = middle;
    }
  }
  return best;
}

std::vector<int> best_order(const Weights& weights, double bound) {
  std::vector<double> rates = weights.rates();
  std::erase_if(rates, [&](double rate) { return rate > bound; });
  if (weights.size() > kExactDevices) {
    return bisect(rates, [&](double rate) { return GrownRing(weights, rate).find(); });
  }
  return bisect(rates, [&](double rate) {
    const ExactRing search(weights, rate);
    return search.exists() ? search.nearest() : std::vector<int>{};
  });
}

Ring describe(const Topology& topology, const Weights& weights, std::vector<int> order,
              double bound) {
  Ring ring;
  double bottleneck = kUnlimitedRate;
  std::int64_t latency = 0;
  for (std::size_t i = 0; i < order.size() && order.size() > 1; ++i) {
    const int from = order[i];
    const int to = order[(i + 1) % order.size()];
    latency += weights.latency(from, to);
    if (weights.rate(from, to) >= bottleneck) continue;
    bottleneck = weights.rate(from, to);
    ring.bytes_per_second = topology.link(from, to).bytes_per_second;
    ring.bottleneck = {from, to};
  }
  ring.latency_seconds = static_cast<double>(latency) * 1e-12;
  ring.proven = weights.size() <= kExactDevices || bottleneck >= bound;
  ring.devices = std::move(order);
  return ring;
}

// What rings at once leave of the ports that they share: see Ring.
void share_ports(const Topology& topology, std::vector<Ring>* rings) {
  const auto uses = [&](int from, int to, SharedPort port) {
    int count = 0;
    for (const Ring& ring : *rings) {
      for (std::size_t i = 0; i < ring.devices.size(); ++i) {
        const int a = ring.devices[i];
        const int b = ring.devices[(i + 1) % ring.devices.size()];
        if (shared_port(topology.link(a, b)) == port) count += (from == a) + (to == b);
      }
    }
    return count;
  };
  for (Ring& ring : *rings) {
    ring.bytes_per_second_together = ring.bytes_per_second;
    for (std::size_t i = 0; i < ring.devices.size() && ring.bytes_per_second; ++i) {
      const int from = ring.devices[i];
      const int to = ring.devices[(i + 1) % ring.devices.size()];
      const Link& link = topology.link(from, to);
      const SharedPort port = shared_port(link);
      if (port == SharedPort::none || !link.bytes_per_second) continue;
      const int most = std::max(uses(from, -1, port), uses(-1, to, port));
      ring.bytes_per_second_together =
          std::min(*ring.bytes_per_second_together, *link.bytes_per_second / most);
    }
  }
}

}  // namespace

std::vector<Ring> find_rings(const Topology& topology, int k) {
  std::vector<Ring> rings;
  const int n = topology.size();
  Weights weights(topology);
  while (n > 0 && static_cast<int>(rings.size()) < k) {
    std::vector<int> order;
    double bound = 0;
    if (n == 1) {
      order = {0};
    } else if (n == 2) {
      if (weights.rate(0, 1) > 0 && weights.rate(1, 0) > 0) order = {0, 1};
    } else {
      bound = ring_bound(weights);
      if (bound > 0) order = best_order(weights, bound);
    }
    if (order.empty()) break;
    for (std::size_t i = 0; i < order.size(); ++i) {
      weights.remove(order[i], order[(i + 1) % order.size()]);
    }
    rings.push_back(describe(topology, Weights(topology), std::move(order), bound));
    if (n == 1) break;
  }
  share_ports(topology, &rings);
  return rings;
}

}  // namespace weft::topology
