// The graph of this machine, put together from what CUDA, NVML and sysfs tell: each may be missing.
//
// GPUs in the order of the devices, NVSwitches, PCIe switches and host bridges, NUMA nodes and
// network adapters. Of a PCIe switch the upstream port stands for the whole; a root port belongs to
// its host bridge. Where NVML masks the addresses of NVSwitches, as in virtual machines, one vertex
// stands for all of them.
//
// Nothing here throws. What cannot be found out is left out, with a line in `notes`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "topology/graph.h"
#include "topology/probe/nvml.h"
#include "topology/probe/sysfs.h"
#include "topology/probe/verify.h"
#include "topology/topology.h"

namespace weft::topology {

// What CUDA tells of each device: its name and address, and of each peer whether it can be
// addressed, does atomics over the link, and how fast the link is said to be (0 is fastest).
struct PeerAttributes {
  bool access = false;
  std::optional<bool> native_atomics;
  std::optional<std::int32_t> performance_rank;
};
// Of every ordered pair of `devices` CUDA devices, row-major; empty in a build without CUDA.
std::vector<PeerAttributes> cuda_peer_attributes(int devices);

struct MachineFacts {
  std::vector<Node> nodes;            // the devices
  std::vector<PeerAttributes> peers;  // row-major, or empty
  std::vector<PairCheck> checks;      // row-major, or empty: nothing was verified
  const NvmlApi* nvml = nullptr;
  SystemRoot root;
};

// nullopt where the graph would say nothing: no NVML and no sysfs.
std::optional<Graph> build_graph(const MachineFacts& facts, std::vector<std::string>* notes);

// The devices with their links: classes as the driver tells them, else as they follow from the
// graph, which also has the rates of PCIe. Peer access as CUDA says, but not where bytes of either
// direction did not arrive: such a pair is quarantined in both.
Topology assemble(MachineFacts facts, std::vector<std::string> notes);

// How notes end that a measurement makes untrue.
inline constexpr std::string_view kMeasureHint = "; measure for them";

Host read_host(const NvmlApi* nvml, const SystemRoot& root);

}  // namespace weft::topology
