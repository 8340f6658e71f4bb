// What follows from a topology: which devices belong together, and in which rings and trees data
// goes round.
//
// Everything here is a pure function of the topology: the same links give the same answer. Links
// are weighed as weights.h says.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "topology/topology.h"

namespace weft::topology {

// Sets of devices of which every pair is joined: sorted, and in the order of their members.
struct Cliques {
  std::vector<std::vector<int>> cliques;
  bool complete = true;  // false: there are more than are worth listing, these cover every device
};

// The maximal cliques over the nearest class of links that the topology has: NVLink, xGMI and C2C
// if any pair has them, else the nearest class of PCIe paths. A quarantined pair and one without
// peer access both ways is not joined. A device that is joined with none is a clique by itself.
// (Bron and Kerbosch, "Finding all cliques of an undirected graph", CACM 16, 1973, with pivots.)
Cliques find_cliques(const Topology& topology);

inline constexpr int kExactDevices = 16;  // up to so many the best ring is found for certain

// What goes round sends from each device to the next, and from the last to the first.
struct Ring {
  std::vector<int> devices;  // from device 0
  // Of its slowest link, alone; nullopt if that is not known, and for one device.
  std::optional<double> bytes_per_second;
  std::pair<int, int> bottleneck{-1, -1};
  double latency_seconds = 0;  // once round
  // The same while all rings that were found run at once. Rings share no pair of devices, so no
  // direct wire. But links through a switch, a host bridge or a NIC are no wires of their own: they
  // share their devices' ports (shared_port() in topology.h), and each ring gets its part of them.
  std::optional<double> bytes_per_second_together;
  bool proven = false;  // no ring over the links that were left has a faster slowest link
};

// At most `k` rings through all devices, best first: the one whose slowest link is fastest, of
// these the one with the least latency, of these the first in order; then the best over the pairs
// that the earlier ones left. Fewer where there are no more. Above kExactDevices devices it is a
// good ring, by a heuristic, whose slowest link may still be proven the best by a bound.
std::vector<Ring> find_rings(const Topology& topology, int k);

// From the root to every device. parents[root] is -1.
struct Tree {
  int root = 0;
  std::vector<int> parents;
  std::optional<double> bytes_per_second;  // of its slowest link, both ways
  bool proven = false;                     // no tree at all has a faster slowest link
};

// At most `k` trees over all devices that share no pair of devices. The first is rooted at device
// 0, others where earlier ones have leaves, and they prefer to make leaves of what earlier ones
// have inside, as double trees do (Sanders, Speck and Traff, "Two-tree algorithms for full
// bandwidth broadcast, reduction and scan", Parallel Computing 35, 2009). Each device has at most
// `children` of them; 0: any number. The nearest device is added first, to the parent that has been
// in the tree longest: levels fill from the root, and machines of a cluster are entered once. The
// slowest link is as fast as can be where `children` is 0; else the greatest rate for which that
// succeeds, which may be proven the best by a bound.
std::vector<Tree> find_trees(const Topology& topology, int k, int children);

// The devices in sets that their fastest links join, for hierarchical algorithms: links within
// kAlike of the fastest among `devices` count, since measured ones differ. In order of their first
// member; one set if all are joined.
inline constexpr double kAlike = 0.9;
std::vector<std::vector<int>> find_groups(const Topology& topology, std::span<const int> devices);

}  // namespace weft::topology
