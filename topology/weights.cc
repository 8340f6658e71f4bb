// Weights of links. See weights.h.
#include "topology/weights.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace weft::topology {
namespace {

// Bytes per second where a link does not say: the order of the classes is what matters.
double rate_of(const Link& link) {
  if (!usable(link)) return 0;
  if (link.bytes_per_second) return *link.bytes_per_second;
  switch (link.kind) {
    case PathKind::nvlink:
    case PathKind::xgmi:
      return 20e9 * std::max(1, link.count);
    case PathKind::c2c:
      return 100e9;
    case PathKind::pix:
      return 12e9;
    case PathKind::pxb:
      return 11e9;
    case PathKind::phb:
      return 10e9;
    case PathKind::node:
      return 9e9;
    case PathKind::sys:
      return 8e9;
    case PathKind::network:
      return 5e9;
    case PathKind::unknown:
      return 1e9;
    case PathKind::self:
      break;
  }
  return 0;
}

}  // namespace

bool usable(const Link& link) {
  return link.verified.value_or(true) && (link.peer_access || link.kind == PathKind::network);
}

Weights::Weights(const Topology& topology) : n_(topology.size()) {
  for (int from = 0; from < n_; ++from) {
    for (int to = 0; to < n_; ++to) {
      const Link& link = topology.link(from, to);
      rates_.push_back(from == to ? 0 : rate_of(link));
      latencies_.push_back(std::llround(std::min(link.latency_seconds.value_or(0), 1e3) * 1e12));
    }
  }
}

std::vector<double> Weights::rates() const {
  std::vector<double> rates = rates_;
  std::sort(rates.begin(), rates.end(), std::greater<>());
  rates.erase(std::unique(rates.begin(), rates.end()), rates.end());
  if (!rates.empty() && rates.back() == 0) rates.pop_back();
  return rates;
}

bool Weights::all_joined(double least, bool backwards) const {
  std::vector<bool> seen(static_cast<std::size_t>(n_));
  std::vector<int> open{0};
  seen[0] = true;
  int count = 1;
  while (!open.empty()) {
    const int here = open.back();
    open.pop_back();
    for (int to = 0; to < n_; ++to) {
      const double way = backwards ? rate(to, here) : rate(here, to);
      if (seen[static_cast<std::size_t>(to)] || way < least) continue;
      seen[static_cast<std::size_t>(to)] = true;
      ++count;
      open.push_back(to);
    }
  }
  return count == n_;
}

double Weights::joining_rate() const {
  const std::vector<double> all = rates();
  std::size_t low = 0, high = all.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (all_joined(all[middle], false) && all_joined(all[middle], true)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low < all.size() ? all[low] : 0;
}

}  // namespace weft::topology
