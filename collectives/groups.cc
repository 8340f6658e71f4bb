#include "collectives/groups.h"

#include <algorithm>
#include <cstddef>

#include "core/base/error.h"

namespace weft::collectives {
namespace {

using Groups = std::vector<std::vector<Rank>>;

Groups in_order(int world, int size) {
  Groups groups;
  for (int r = 0; r < world; ++r) {
    if (r % size == 0) groups.emplace_back();
    groups.back().push_back(Rank(r));
  }
  return groups;
}

int near_square_root(int world) {
  int best = 1;
  for (int m = 1; m * m <= world; ++m) {
    if (world % m == 0) best = m;
  }
  return world / best;
}

// How fast two ranks reach each other; ranks on one device faster than anything.
double rate(const topology::Topology& topology, int a, int b) {
  return a == b ? 1e30 : topology.link(a, b).bytes_per_second.value_or(0.0);
}

// Components of the graph of the fastest links between devices.
Groups by_links(const topology::Topology& topology, std::span<const int> devices) {
  double fastest = 0;
  for (const int a : devices) {
    for (const int b : devices) {
      if (a != b) fastest = std::max(fastest, rate(topology, a, b));
    }
  }
  std::vector<int> group_of(devices.size(), -1);
  Groups groups;
  for (std::size_t first = 0; first < devices.size(); ++first) {
    if (group_of[first] >= 0) continue;
    std::vector<std::size_t> open{first};
    group_of[first] = static_cast<int>(groups.size());
    groups.emplace_back();
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      groups.back().push_back(Rank(static_cast<int>(at)));
      for (std::size_t other = 0; other < devices.size(); ++other) {
        if (group_of[other] >= 0) continue;
        if (rate(topology, devices[at], devices[other]) < fastest) continue;
        group_of[other] = group_of[first];
        open.push_back(other);
      }
    }
    std::sort(groups.back().begin(), groups.back().end());
  }
  return groups;
}

}  // namespace

Groups groups_of(const fabric::Fabric& fabric, std::span<const int> device_of_rank,
                 int group_size) {
  const int world = fabric.world().value();
  if (group_size < 0 || (group_size > 0 && world % group_size != 0)) {
    fail(ErrorCode::invalid_argument, "groups of ", group_size, " do not divide ", world, " ranks");
  }
  if (group_size > 0) return in_order(world, group_size);
  Groups groups = by_links(fabric.topology(), device_of_rank);
  const bool even = std::all_of(groups.begin(), groups.end(), [&](const auto& group) {
    return group.size() == groups.front().size();
  });
  return even && groups.size() > 1 && groups.front().size() > 1
             ? groups
             : in_order(world, near_square_root(world));
}

}  // namespace weft::collectives
