// The hardware as it is plugged together: vertices and the wires between them.
//
// A plain value. Topology (topology.h) is made from it: what a device can reach is worked out in
// paths.h. A figure that nobody stated is nullopt, never a guess.
//
// Invariants of a graph that passed validate()
//   1. Ids are unique and not empty; every wire joins two different vertices that exist.
//   2. Counts, generations and widths are positive; rates are finite and above 0, latencies finite
//      and not below 0.
//   3. There are at most kMaxVertices vertices, kMaxWires wires and kMaxDevices GPUs. GPUs times
//      walkable wires are at most kMaxWalks: then the ways between all GPUs are found in a second.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft::topology {

inline constexpr int kMaxVertices = 4096;
inline constexpr int kMaxWires = 65536;
inline constexpr int kMaxDevices = 1024;  // a topology has a link for each ordered pair
inline constexpr std::int64_t kMaxWalks = 1 << 24;

// cpu: one NUMA node. host_bridge: a PCIe root; where there are none, PCIe hangs on the cpu.
// network_switch: what network wires of several machines meet in.
enum class VertexKind : std::uint8_t {
  gpu,
  nvswitch,
  pcie_switch,
  host_bridge,
  cpu,
  nic,
  network_switch
};

// bus: host bridge and cpu. socket: between cpus (QPI, UPI, Infinity Fabric). network: NICs and
// switches of a network.
enum class WireKind : std::uint8_t { nvlink, xgmi, c2c, pcie, bus, socket, network };

struct Vertex {
  VertexKind kind = VertexKind::gpu;
  std::string id;
  std::string name;
  std::optional<std::int32_t> numa{};
  std::optional<std::string> pci{};  // "0000:1b:00.0"
  // Kept for round trips (of NCCL's XML: sm, rank, gdr, class, ...) and never interpreted.
  std::vector<std::pair<std::string, std::string>> attributes{};
  friend bool operator==(const Vertex&, const Vertex&) = default;
};

// Both directions alike.
struct Wire {
  int a = 0;  // indices of vertices
  int b = 0;
  WireKind kind = WireKind::pcie;
  std::int32_t count = 1;                    // links that are bonded
  std::optional<std::int32_t> generation{};  // of NVLink or PCIe
  std::optional<std::int32_t> width{};       // PCIe lanes
  std::optional<double> bytes_per_second{};  // nominal, one direction, all `count` together
  std::optional<double> latency_seconds{};   // of a small message, one way
  friend bool operator==(const Wire&, const Wire&) = default;
};

struct Graph {
  std::vector<Vertex> vertices;
  std::vector<Wire> wires;

  // Throws TopologyError that says which vertex or wire breaks which of the invariants above.
  void validate() const;
  // The vertices that are GPUs, in their order: device i is the i-th of them.
  std::vector<int> gpus() const;
  // Is a wire part of the ways over PCIe, cpus and networks? NVLinks are where they end in a cpu.
  bool walkable(const Wire& wire) const;
  friend bool operator==(const Graph&, const Graph&) = default;
};

// "gpu", "nvswitch", ...; "nvlink", "xgmi", ...
std::string_view kind_name(VertexKind kind);
std::string_view kind_name(WireKind kind);
// The kind of that name; nullopt if there is none.
std::optional<VertexKind> vertex_kind(std::string_view name);
std::optional<WireKind> wire_kind(std::string_view name);

}  // namespace weft::topology
