// From the graph of the hardware to the links between GPUs: for each pair the best way there is,
// and the class that nvidia-smi names it by.
//
// The rules
//   * nvlink: the pair shares wires, or both have wires into one fabric of NVSwitches, which are
//     switches that NVLinks join, however many in a row. The count is that of the links they share
//     and, for each fabric, the lesser of the links that the two have into it; so is the rate.
//   * xgmi: the pair shares xGMI wires. c2c: the pair shares C2C wires, or has them to one cpu.
//   * Otherwise the way over PCIe that leaves the machine, then crosses sockets, then cpus, then
//     anything, as seldom as possible: pix (at most one switch), pxb (several), phb (one host
//     bridge, or a cpu that PCIe hangs on directly), node (two host bridges of one cpu), sys (two
//     cpus), network. Its rate is that of its narrowest wire; of ways with as few wires it is the
//     one where that is widest.
//   * No way leads through a third GPU: what NCCL calls NVB is a choice of routing, no link.
// Latencies add up along the way. A figure that one wire of the way does not have is not known, and
// `reason` says so. A link has peer access if there is a way within the machine or NVLink.
//
// Wires have the same figures both ways, and so do links.
#pragma once

#include <vector>

#include "topology/graph.h"
#include "topology/topology.h"

namespace weft::topology {

// Links between the GPUs of a valid graph, in the order of Graph::gpus(), row-major.
std::vector<Link> find_paths(const Graph& graph);

}  // namespace weft::topology
