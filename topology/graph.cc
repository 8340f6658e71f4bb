// Names and checks of the hardware graph. See graph.h.
#include "topology/graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <unordered_map>

#include "core/base/error.h"

namespace weft::topology {
namespace {

constexpr std::array<std::string_view, 7> kVertexNames = {
    "gpu", "nvswitch", "pcie_switch", "host_bridge", "cpu", "nic", "network_switch"};
constexpr std::array<std::string_view, 7> kWireNames = {"nvlink", "xgmi",   "c2c",    "pcie",
                                                        "bus",    "socket", "network"};

template <class Kind, std::size_t N>
std::optional<Kind> find_kind(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Kind>(found - names.begin());
}

// For messages: whoever wrote the file may have written any length.
std::string_view shortened(std::string_view text) { return text.substr(0, 80); }

void check_limit(std::size_t have, int most, const char* what) {
  if (have <= static_cast<std::size_t>(most)) return;
  fail(ErrorCode::topology, "the graph has ", have, " ", what, "; at most ", most, " are handled");
}

void check_vertices(const std::vector<Vertex>& vertices) {
  std::unordered_map<std::string_view, std::size_t> seen;
  for (std::size_t i = 0; i < vertices.size(); ++i) {
    if (vertices[i].id.empty()) fail(ErrorCode::topology, "vertex ", i, " has no id");
    const auto [first, is_new] = seen.emplace(vertices[i].id, i);
    if (is_new) continue;
    fail(ErrorCode::topology, "vertices ", first->second, " and ", i, " have the same id \"",
         shortened(vertices[i].id), "\"");
  }
}

void check_wire(const std::vector<Vertex>& vertices, std::size_t number, const Wire& wire) {
  const auto count = static_cast<int>(vertices.size());
  for (const int end : {wire.a, wire.b}) {
    if (end >= 0 && end < count) continue;
    fail(ErrorCode::topology, "wire ", number, " ends at vertex ", end, ", and there are ", count);
  }
  const auto bad = [&](const auto&... what) {
    const auto name = [&](int end) {
      return shortened(vertices[static_cast<std::size_t>(end)].id);
    };
    fail(ErrorCode::topology, "wire ", number, " (", name(wire.a), " to ", name(wire.b),
         "): ", what...);
  };
  if (wire.a == wire.b) bad("it joins a vertex with itself");
  if (wire.count < 1) bad("its count must be at least 1, not ", wire.count);
  if (wire.generation && *wire.generation < 1) {
    bad("its generation must be at least 1, not ", *wire.generation);
  }
  if (wire.width && *wire.width < 1) bad("its width must be at least 1, not ", *wire.width);
  if (const auto rate = wire.bytes_per_second; rate && !(std::isfinite(*rate) && *rate > 0)) {
    bad("its bytes_per_second must be finite and above 0, not ", *rate);
  }
  if (const auto time = wire.latency_seconds; time && !(std::isfinite(*time) && *time >= 0)) {
    bad("its latency_seconds must be finite and not below 0, not ", *time);
  }
}

}  // namespace

std::string_view kind_name(VertexKind kind) { return kVertexNames[static_cast<std::size_t>(kind)]; }
std::string_view kind_name(WireKind kind) { return kWireNames[static_cast<std::size_t>(kind)]; }
std::optional<VertexKind> vertex_kind(std::string_view name) {
  return find_kind<VertexKind>(kVertexNames, name);
}
std::optional<WireKind> wire_kind(std::string_view name) {
  return find_kind<WireKind>(kWireNames, name);
}

std::vector<int> Graph::gpus() const {
  std::vector<int> found;
  for (std::size_t i = 0; i < vertices.size(); ++i) {
    if (vertices[i].kind == VertexKind::gpu) found.push_back(static_cast<int>(i));
  }
  return found;
}

bool Graph::walkable(const Wire& wire) const {
  if (wire.kind != WireKind::nvlink && wire.kind != WireKind::xgmi && wire.kind != WireKind::c2c) {
    return true;
  }
  const auto is_cpu = [&](int end) {
    return vertices[static_cast<std::size_t>(end)].kind == VertexKind::cpu;
  };
  return is_cpu(wire.a) || is_cpu(wire.b);
}

void Graph::validate() const {
  check_limit(vertices.size(), kMaxVertices, "vertices");
  check_limit(wires.size(), kMaxWires, "wires");
  check_limit(gpus().size(), kMaxDevices, "GPUs");
  check_vertices(vertices);
  for (std::size_t i = 0; i < wires.size(); ++i) check_wire(vertices, i, wires[i]);
  const auto count = static_cast<std::int64_t>(gpus().size());
  const auto walked =
      std::count_if(wires.begin(), wires.end(), [&](const Wire& wire) { return walkable(wire); });
  if (count * walked > kMaxWalks) {
    fail(ErrorCode::topology, "the graph has ", count, " GPUs and ", walked,
         " wires of PCIe, cpus and networks; at most ", kMaxWalks / count,
         " are handled for so many GPUs");
  }
}

}  // namespace weft::topology
