// What a plan has to know of pairs, out of a topology. See probe.h.
#include <algorithm>
#include <limits>
#include <queue>
#include <vector>

#include "topology/probe/probe.h"

namespace weft::topology {
namespace {

constexpr double kReached = 0.8;     // of a nominal rate
constexpr int kTheHost = -1;         // what pairs share where the wires are not known
constexpr double kStagedRate = 5e9;  // by the host's memory
constexpr double kDefaultLatency = 2e-6;

bool is_own_wire(PathKind kind) {
  return kind == PathKind::nvlink || kind == PathKind::xgmi || kind == PathKind::c2c;
}

// Where no rate is told. Rather too little: then the plan ends early.
double default_rate(PathKind kind) {
  switch (kind) {
    case PathKind::nvlink:
      return 100e9;
    case PathKind::c2c:
      return 100e9;
    case PathKind::xgmi:
      return 40e9;
    case PathKind::pix:
    case PathKind::pxb:
      return 10e9;
    default:
      return 6e9;
  }
}

// The wires of the way with the fewest of them between two GPUs, over PCIe and the host; empty if
// there is none.
std::vector<int> wires_between(const Graph& graph, int from, int to) {
  constexpr int kNone = std::numeric_limits<int>::max();
  std::vector<int> came_by(graph.vertices.size(), kNone);
  std::vector<char> seen(graph.vertices.size(), 0);
  std::queue<int> next;
  next.push(from);
  seen[static_cast<std::size_t>(from)] = 1;
  const auto other_end = [&](int wire, int vertex) {
    const Wire& joined = graph.wires[static_cast<std::size_t>(wire)];
    return joined.a == vertex ? joined.b : joined.b == vertex ? joined.a : kNone;
  };
  while (!next.empty() && !seen[static_cast<std::size_t>(to)]) {
    const int vertex = next.front();
    next.pop();
    for (int wire = 0; wire < static_cast<int>(graph.wires.size()); ++wire) {
      const WireKind kind = graph.wires[static_cast<std::size_t>(wire)].kind;
      if (kind != WireKind::pcie && kind != WireKind::bus && kind != WireKind::socket) continue;
      const int end = other_end(wire, vertex);
      if (end == kNone || seen[static_cast<std::size_t>(end)]) continue;
      if (graph.vertices[static_cast<std::size_t>(end)].kind == VertexKind::gpu && end != to) {
        continue;
      }
      seen[static_cast<std::size_t>(end)] = 1;
      came_by[static_cast<std::size_t>(end)] = wire;
      next.push(end);
    }
  }
  std::vector<int> wires;
  for (int at = to; at != from && came_by[static_cast<std::size_t>(at)] != kNone;) {
    wires.push_back(came_by[static_cast<std::size_t>(at)]);
    at = other_end(wires.back(), at);
  }
  return wires;
}

PairGuess guess_pair(const Topology& machine, int a, int b) {
  const Link& there = machine.link(a, b);
  const Link& back = machine.link(b, a);
  PairGuess pair;
  pair.usable = there.verified.value_or(true) && back.verified.value_or(true);
  pair.reachable = there.peer_access && back.peer_access;
  pair.latency_seconds = there.latency_seconds.value_or(kDefaultLatency);
  const double rate =
      there.bytes_per_second ? kReached * *there.bytes_per_second : default_rate(there.kind);
  pair.bytes_per_second = pair.reachable ? rate : std::min(rate, kStagedRate);
  if (pair.reachable && is_own_wire(there.kind)) return pair;
  if (machine.graph()) {
    const std::vector<int> gpus = machine.graph()->gpus();
    pair.shared = wires_between(*machine.graph(), gpus[static_cast<std::size_t>(a)],
                                gpus[static_cast<std::size_t>(b)]);
  }
  const bool known = pair.reachable && (!pair.shared.empty() || there.kind == PathKind::pix);
  if (!known) pair.shared.push_back(kTheHost);
  return pair;
}

}  // namespace

PlanInput guess(const Topology& machine) {
  PlanInput input;
  input.devices = machine.size();
  for (int a = 0; a < machine.size(); ++a) {
    for (int b = 0; b < machine.size(); ++b) {
      input.pairs.push_back(a == b ? PairGuess{} : guess_pair(machine, a, b));
    }
  }
  if (!machine.graph()) return input;
  for (const Wire& wire : machine.graph()->wires) {
    const auto is_gpu = [&](int end) {
      return machine.graph()->vertices[static_cast<std::size_t>(end)].kind == VertexKind::gpu;
    };
    if (wire.kind != WireKind::pcie || !wire.bytes_per_second) continue;
    if (!is_gpu(wire.a) && !is_gpu(wire.b)) continue;
    input.host_bytes_per_second =
        std::min(input.host_bytes_per_second, kReached * *wire.bytes_per_second);
  }
  return input;
}

}  // namespace weft::topology
