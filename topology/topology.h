// What is known of the machine: devices and how they are wired.
//
// Plain values, made by topology::probe() (this machine; probe/probe.h), topology::preset() (a
// known one) or Topology::from_graph() (any). It knows no schedules and no fabrics. A figure that
// is not known is nullopt, with the reason in the link's `reason` or in `notes`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/device/device.h"
#include "topology/graph.h"

namespace weft::topology {

// Path classes under the names people know from nvidia-smi. xgmi and c2c: as nvlink, of AMD's and
// of chip-to-chip wires; network: between machines.
enum class PathKind : std::uint8_t {
  self,
  nvlink,
  pix,
  pxb,
  phb,
  node,
  sys,
  unknown,
  xgmi,
  c2c,
  network
};

// "self", "nvlink", ...; and back, nullopt if there is none of that name.
std::string_view kind_name(PathKind kind);
std::optional<PathKind> path_kind(std::string_view name);

struct Node {
  DeviceId device;
  std::string name;                   // "NVIDIA H200", "simulated H100"
  std::optional<std::int32_t> numa;   // NUMA node
  std::optional<std::string> pci;     // "0000:1b:00.0"
  std::optional<std::string> uuid{};  // "GPU-..."
};

enum class Via : std::uint8_t { direct, through_switch };

// From one device to another; directions may differ.
struct Link {
  PathKind kind = PathKind::unknown;
  std::int32_t count = 0;                    // NVLinks (xGMI, C2C links) on the path, else 0
  bool peer_access = false;                  // may the first address the second's memory?
  std::optional<double> bytes_per_second{};  // nominal or measured, one direction
  std::optional<double> latency_seconds{};   // of a small message, one way
  std::optional<Via> via{};                  // nullopt: not known, or through a host bridge or cpu
  std::optional<bool> verified{};  // did bytes compare equal both ways? false: quarantined
  std::string reason{};            // why a figure is missing or the pair quarantined; empty: none
  friend bool operator==(const Link&, const Link&) = default;
};

// Links that end in the same port of a device share its rate: those through NVSwitches, those over
// PCIe (and cpus), those over the network. A direct wire is nobody else's.
enum class SharedPort : std::uint8_t { none, nvswitch, host, network };
SharedPort shared_port(const Link& link);

struct NumaNode {
  std::int32_t id = 0;
  std::string cpus;  // "0-15,32-47"
};

// What is known of the machine around the devices.
struct Host {
  std::optional<std::string> cpu{};  // its model's name
  std::vector<NumaNode> numa_nodes{};
  std::optional<std::string> iommu{};   // "off", "passthrough", "on"
  std::optional<std::string> driver{};  // "570.86.15"
  std::optional<std::string> cuda{};    // "12.8"
};

inline constexpr int kHostMemory = -1;

// What was measured between two devices, or a device and the host's memory.
struct Measurement {
  int from = kHostMemory;  // device index
  int to = kHostMemory;
  std::string what;    // "bandwidth" | "latency" | "all_pairs" (every pair at once)
  std::string engine;  // "copy_engine" | "sm_push" | "sm_pull" | "flag"
  bool both_directions = false;
  std::int64_t bytes = 0;
  double median = 0;  // bytes per second, or seconds
  double spread = 0;
  std::int32_t samples = 0;
};

class Topology {
 public:
  Topology() = default;
  Topology(std::string name, std::vector<Node> nodes, std::vector<Link> links);
  // The GPUs of the graph as devices of `kind`, with the links of paths.h. Throws TopologyError for
  // a graph that cannot be.
  static Topology from_graph(std::string name, Graph graph, DeviceKind kind = DeviceKind::sim);
  // Nodes and links that are known by themselves, of the GPUs of the graph, in their order. Throws
  // TopologyError where the graph has another number of GPUs.
  static Topology of_graph(std::string name, std::vector<Node> nodes, std::vector<Link> links,
                           Graph graph);

  const std::string& name() const { return name_; }
  bool simulated() const { return simulated_; }
  int size() const { return static_cast<int>(nodes_.size()); }
  const Node& node(int i) const { return nodes_[static_cast<std::size_t>(i)]; }
  const Link& link(int from, int to) const {
    return links_[static_cast<std::size_t>(from * size() + to)];
  }
  const std::vector<Link>& links() const { return links_; }  // size x size, row-major
  // The hardware, if it is known. Its figures stay nominal whatever is measured.
  const std::optional<Graph>& graph() const { return graph_; }
  // Are the links those that the graph alone gives, so that nothing is lost without them?
  bool links_follow_from_graph() const;
  const std::vector<Measurement>& measurements() const { return measurements_; }
  std::vector<std::string> notes;  // what could not be found out, and why
  std::optional<Host> host;

  // A copy whose links have the rates and latencies that were measured: of a pair's bandwidths the
  // best over engines and sizes, with both directions busy if any of them is, and the least
  // latency. It keeps `measured` beside the earlier measurements. Throws TopologyError for
  // measurements of no device or that cannot be (not finite, below 0).
  Topology with_measurements(std::vector<Measurement> measured) const;

  // A copy whose links have the rates that these engines gave, for what is moved in equal parts by
  // each (the harmonic mean); links where one of them was not measured stay as they are.
  Topology with_engines(std::span<const std::string_view> engines) const;
  // The measurements that the links' figures already hold, e.g. of a file. Throws TopologyError as
  // with_measurements does.
  void set_measurements(std::vector<Measurement> measured);

  // Time to move `bytes` over the link, start to end: latency + bytes / rate.
  double transfer_seconds(int from, int to, std::int64_t bytes) const;
  // "X", "NV18", "PIX", ... as nvidia-smi topo -m prints them.
  std::string cell(int from, int to) const;
  std::vector<std::vector<std::string>> matrix() const;

  void set_simulated(bool simulated) { simulated_ = simulated; }

 private:
  std::string name_;
  std::vector<Node> nodes_;
  std::vector<Link> links_;  // size x size, row-major
  bool simulated_ = false;
  std::optional<Graph> graph_;
  std::vector<Measurement> measurements_;
};

// A known machine, as `devices` simulated devices of it. Throws InvalidArgument naming the presets.
Topology preset(std::string_view name, int devices);
std::vector<std::string> preset_names();
// All of that machine, as hardware.
Graph preset_graph(std::string_view name);
// Several of a machine, whole, joined by a network that is made up: a NIC for each GPU. Throws
// InvalidArgument for more than kMaxDevices devices.
Topology preset_cluster(std::string_view name, int machines);
// How many devices the machine itself has; preset() repeats its links for more.
int preset_size(std::string_view name);
inline constexpr std::string_view kDefaultPreset = "hgx-h200";

}  // namespace weft::topology
