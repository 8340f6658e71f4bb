#include "collectives/groups.h"

#include <algorithm>
#include <cstddef>

#include "core/base/error.h"
#include "topology/search.h"

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

// Ranks whose devices are in one group.
Groups by_links(const topology::Topology& topology, std::span<const int> device_of_rank) {
  std::vector<int> devices;
  for (const int device : device_of_rank) {
    if (std::find(devices.begin(), devices.end(), device) == devices.end()) {
      devices.push_back(device);
    }
  }
  Groups groups;
  for (const std::vector<int>& group : topology::find_groups(topology, devices)) {
    std::vector<Rank>& ranks = groups.emplace_back();
    for (std::size_t rank = 0; rank < device_of_rank.size(); ++rank) {
      if (std::find(group.begin(), group.end(), device_of_rank[rank]) == group.end()) continue;
      ranks.push_back(Rank(static_cast<int>(rank)));
    }
  }
  return groups;
}

}  // namespace

Groups groups_of(const topology::Topology& topology, std::span<const int> device_of_rank,
                 int group_size) {
  const int world = static_cast<int>(device_of_rank.size());
  if (group_size < 0 || (group_size > 0 && world % group_size != 0)) {
    fail(ErrorCode::invalid_argument, "groups of ", group_size, " do not divide ", world, " ranks");
  }
  if (group_size > 0) return in_order(world, group_size);
  Groups groups = by_links(topology, device_of_rank);
  const bool even = std::all_of(groups.begin(), groups.end(), [&](const auto& group) {
    return group.size() == groups.front().size();
  });
  return even && groups.size() > 1 && groups.front().size() > 1
             ? groups
             : in_order(world, near_square_root(world));
}

}  // namespace weft::collectives
