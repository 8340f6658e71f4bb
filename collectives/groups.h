// Groups of ranks for hierarchical algorithms: given, or from the topology.
#pragma once

#include <span>
#include <vector>

#include "core/base/types.h"
#include "topology/topology.h"

namespace weft::collectives {

// Groups of equal size, every rank in one. `group_size`: that many ranks a group, in rank order;
// 0: ranks that are joined by the machine's fastest links (topology::find_groups), if these make at
// least two groups of equal size, else groups as near to the square root of the number of ranks as
// it divides.
// Throws InvalidArgument for a size that does not divide the ranks.
std::vector<std::vector<Rank>> groups_of(const topology::Topology& topology,
                                         std::span<const int> device_of_rank, int group_size);

}  // namespace weft::collectives
