// Small graphs that the topology tests share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "topology/graph.h"

namespace weft::topology::testing {

inline int add(Graph& graph, VertexKind kind, const std::string& id) {
  graph.vertices.push_back({kind, id, id});
  return static_cast<int>(graph.vertices.size()) - 1;
}

inline Wire& join(Graph& graph, int a, int b, WireKind kind, int count, double rate,
                  double latency) {
  graph.wires.push_back({a, b, kind, count, {}, {}, rate, latency});
  return graph.wires.back();
}

template <class Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::internal, "nothing was thrown");
}

// Two sockets, on each a cpu with two host bridges; on the first bridge two PCIe switches in a row
// with two GPUs each, on the second bridge one GPU: 10 GPUs, those of a socket in order.
inline Graph pcie_tree() {
  Graph g;
  std::vector<int> cpus;
  for (int socket = 0; socket < 2; ++socket) {
    const std::string mark = std::to_string(socket);
    const int cpu = add(g, VertexKind::cpu, "cpu" + mark);
    cpus.push_back(cpu);
    const int first = add(g, VertexKind::host_bridge, "bridge" + mark + "a");
    const int second = add(g, VertexKind::host_bridge, "bridge" + mark + "b");
    join(g, first, cpu, WireKind::bus, 1, 50e9, 1e-7);
    join(g, cpu, second, WireKind::bus, 1, 50e9, 1e-7);
    const int upper = add(g, VertexKind::pcie_switch, "upper" + mark);
    const int lower = add(g, VertexKind::pcie_switch, "lower" + mark);
    join(g, upper, first, WireKind::pcie, 1, 25e9, 1e-7);
    join(g, upper, lower, WireKind::pcie, 1, 20e9, 1e-7);
    for (const int to : {upper, upper, lower, lower, second}) {
      const int gpu = add(g, VertexKind::gpu, weft::concat("gpu", g.gpus().size()));
      join(g, gpu, to, WireKind::pcie, 1, 25e9, 5e-7);
    }
  }
  join(g, cpus[0], cpus[1], WireKind::socket, 1, 15e9, 3e-7);
  return g;
}

}  // namespace weft::topology::testing
