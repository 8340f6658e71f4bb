// What is known of the machine: devices and how they are wired.
//
// Plain values, made by topology::probe() (this machine) or topology::preset() (a known one). It
// knows no schedules and no fabrics. A figure that is not known is nullopt, with the reason in
// `notes`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device/device.h"

namespace weft::topology {

// Path classes under the names people know from nvidia-smi.
enum class PathKind : std::uint8_t { self, nvlink, pix, pxb, phb, node, sys, unknown };

struct Node {
  DeviceId device;
  std::string name;                  // "NVIDIA H200", "simulated H100"
  std::optional<std::int32_t> numa;  // NUMA node
  std::optional<std::string> pci;    // "0000:1b:00.0"
};

// From one device to another; directions may differ.
struct Link {
  PathKind kind = PathKind::unknown;
  std::int32_t count = 0;                  // NVLinks on the path, 0 for others
  bool peer_access = false;                // may the first address the second's memory?
  std::optional<double> bytes_per_second;  // nominal, one direction
  std::optional<double> latency_seconds;   // of a small message, one way
};

class Topology {
 public:
  Topology() = default;
  Topology(std::string name, std::vector<Node> nodes, std::vector<Link> links);

  const std::string& name() const { return name_; }
  bool simulated() const { return simulated_; }
  int size() const { return static_cast<int>(nodes_.size()); }
  const Node& node(int i) const { return nodes_[static_cast<std::size_t>(i)]; }
  const Link& link(int from, int to) const {
    return links_[static_cast<std::size_t>(from * size() + to)];
  }
  std::vector<std::string> notes;  // what could not be found out, and why

  // Time to move `bytes` over the link, start to end: latency + bytes / rate. Nominal values.
  double transfer_seconds(int from, int to, std::int64_t bytes) const;
  // "X", "NV18", "PIX", ... as nvidia-smi topo -m prints them.
  std::string cell(int from, int to) const;
  std::vector<std::vector<std::string>> matrix() const;
  std::string to_json() const;  // schema weft.topology/1

  void set_simulated(bool simulated) { simulated_ = simulated; }

 private:
  std::string name_;
  std::vector<Node> nodes_;
  std::vector<Link> links_;  // size x size, row-major
  bool simulated_ = false;
};

// The CUDA devices of this machine. Never throws: without a driver it is empty and says why in
// notes.
Topology probe();

// A known machine, as `devices` simulated devices of it. Throws InvalidArgument naming the presets.
Topology preset(std::string_view name, int devices);
std::vector<std::string> preset_names();
// How many devices the machine itself has; preset() repeats its links for more.
int preset_size(std::string_view name);
inline constexpr std::string_view kDefaultPreset = "hgx-h200";

}  // namespace weft::topology
