// Known machines as graphs and as topologies of simulated devices. The figures are in presets/.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "topology/presets/machines.h"
#include "topology/topology.h"

namespace weft::topology {
namespace {

using presets::kMachines;
using presets::Machine;

// Between machines: one NIC a GPU of 400 Gb/s on a network that never blocks. Hypothetical.
constexpr double kNicRate = 50e9;
constexpr double kNicLatency = 1.0e-6;  // from NIC to network

const Machine& find_machine(std::string_view name) {
  const auto found = std::find_if(kMachines.begin(), kMachines.end(),
                                  [&](const Machine& machine) { return machine.name == name; });
  if (found != kMachines.end()) return *found;
  std::string names;
  for (const std::string& known : preset_names()) names += (names.empty() ? "" : ", ") + known;
  fail(ErrorCode::invalid_argument, "no topology preset is called '", name, "'; there are ", names);
}

// Adds one machine after another to a graph.
class Builder {
 public:
  // `prefix` begins every id.
  void add(const Machine& machine, int devices, const std::string& prefix) {
    machine_ = &machine;
    devices_ = devices;
    prefix_ = prefix;
    gpus_.clear();
    for (int i = 0; i < devices; ++i) {
      gpus_.push_back(vertex(VertexKind::gpu, concat("gpu", i), std::string(machine.device)));
      graph_.vertices.back().numa = i / machine.devices_per_cpu % machine.cpus_per_system;
    }
    add_nvlink();
    add_host();
  }

  void add_network(int network) {
    for (int i = 0; i < devices_; ++i) {
      const int nic = vertex(VertexKind::nic, concat("nic", i), "simulated 400 Gb/s NIC");
      wire(nic, above_[at(i)], WireKind::pcie, kNicRate, presets::kPcieLatency);
      wire(nic, network, WireKind::network, kNicRate, kNicLatency);
    }
  }

  int vertex(VertexKind kind, const std::string& id, std::string name) {
    graph_.vertices.push_back({kind, prefix_ + id, std::move(name)});
    return static_cast<int>(graph_.vertices.size()) - 1;
  }

  Graph graph() { return std::move(graph_); }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  Wire& wire(int a, int b, WireKind kind, double rate, double latency) {
    graph_.wires.push_back({a, b, kind, 1, {}, {}, rate, latency});
    return graph_.wires.back();
  }

  // So many of a GPU's links. Whole bytes a second, so that parts add up to what was stated.
  void nvlink(int a, int b, int links, double latency) {
    const presets::NvLink& all = machine_->nvlink;
    Wire& added = wire(a, b, WireKind::nvlink, all.bytes_per_second * links / all.links, latency);
    if (links != all.links) added.bytes_per_second = std::round(*added.bytes_per_second);
    added.count = links;
    added.generation = all.generation;
  }

  void add_nvlink() {
    const presets::NvLink& all = machine_->nvlink;
    for (std::size_t s = 0; s < all.into_switch.size(); ++s) {
      const int to = vertex(VertexKind::nvswitch, concat("nvswitch", s), "simulated NVSwitch");
      for (const int gpu : gpus_) nvlink(gpu, to, all.into_switch[s], all.latency_seconds / 2);
    }
    for (const presets::Bridge& bridge : all.bridges) {
      if (std::max(bridge.a, bridge.b) >= devices_) continue;
      nvlink(gpus_[at(bridge.a)], gpus_[at(bridge.b)], bridge.links, all.latency_seconds);
    }
  }

  // The cpus of all devices there are, and what hangs on them.
  void add_host() {
    cpus_.clear();
    above_.clear();
    const Machine& machine = *machine_;
    for (int first = 0; first < devices_; first += machine.devices_per_cpu) {
      const auto number = static_cast<int>(cpus_.size());
      const int cpu = vertex(VertexKind::cpu, concat("cpu", number), std::string(machine.cpu));
      graph_.vertices.back().numa = number % machine.cpus_per_system;
      cpus_.push_back(cpu);
      add_devices(cpu, first, std::min(first + machine.devices_per_cpu, devices_));
      // Nothing is stated of what joins the cpus of a machine that has C2C.
      if (number % machine.cpus_per_system == 0 || machine.pcie.generation == 0) continue;
      wire(cpus_[at(number - 1)], cpu, WireKind::socket, machine.pcie.socket_rate,
           presets::kSocketLatency);
    }
  }

  void add_devices(int cpu, int first, int end) {
    const presets::Pcie& pcie = machine_->pcie;
    const presets::C2c& c2c = machine_->c2c;
    const auto pcie_wire = [&](int a, int b, double latency) {
      Wire& added = wire(a, b, WireKind::pcie, pcie.switch_rate, latency);
      added.generation = pcie.generation;
      added.width = 16;
    };
    int hub = cpu;
    for (int i = first; i < end; ++i) {
      if (pcie.generation == 0) {
        wire(gpus_[at(i)], cpu, WireKind::c2c, c2c.bytes_per_second, c2c.latency_seconds);
        above_.push_back(cpu);
        continue;
      }
      if (pcie.gpus_per_switch > 0 && i % pcie.gpus_per_switch == 0) {
        const int number = i / pcie.gpus_per_switch;
        const int bridge = vertex(VertexKind::host_bridge, concat("bridge", number), "PCIe root");
        wire(bridge, cpu, WireKind::bus, pcie.cpu_rate, presets::kBusLatency);
        hub = vertex(VertexKind::pcie_switch, concat("switch", number), "PCIe switch");
        pcie_wire(hub, bridge, presets::kSwitchLatency);
      }
      pcie_wire(gpus_[at(i)], hub, presets::kPcieLatency);
      above_.push_back(hub);
    }
  }

  Graph graph_;
  const Machine* machine_ = nullptr;
  int devices_ = 0;
  std::string prefix_;
  std::vector<int> gpus_, cpus_;
  std::vector<int> above_;  // by GPU: the switch or cpu that it hangs on
};

Graph machine_graph(const Machine& machine, int devices) {
  Builder builder;
  builder.add(machine, devices, "");
  return builder.graph();
}

// More devices than the machine has: it is repeated, and what lies between the repetitions is like
// what lies between its first and its last device.
Topology repeated(const Machine& machine, int devices) {
  const Topology whole =
      Topology::from_graph(std::string(machine.name), machine_graph(machine, machine.devices));
  std::vector<Node> nodes;
  std::vector<Link> links;
  for (int from = 0; from < devices; ++from) {
    nodes.push_back(whole.node(from % machine.devices));
    nodes.back().device.ordinal = DeviceOrdinal(from);
    for (int to = 0; to < devices; ++to) {
      const bool together = from / machine.devices == to / machine.devices;
      links.push_back(together ? whole.link(from % machine.devices, to % machine.devices)
                               : whole.link(0, machine.devices - 1));
    }
  }
  Topology topology(std::string(machine.name), std::move(nodes), std::move(links));
  topology.set_simulated(true);
  return topology;
}

void add_notes(const Machine& machine, Topology* topology) {
  topology->notes.push_back(concat("source: ", machine.source));
  topology->notes.push_back("pci: simulated devices have no PCI address");
}

}  // namespace

Topology preset(std::string_view name, int devices) {
  const Machine& machine = find_machine(name);
  const int most = std::max(kMaxSimDevices, machine.devices);
  if (devices < 1 || devices > most) {
    fail(ErrorCode::invalid_argument, "a preset has 1 to ", most, " devices, not ", devices);
  }
  const bool fits = devices <= machine.devices;
  Topology topology = fits
                          ? Topology::from_graph(std::string(name), machine_graph(machine, devices))
                          : repeated(machine, devices);
  add_notes(machine, &topology);
  if (!fits) {
    topology.notes.push_back(concat("size: ", machine.name, " has ", machine.devices,
                                    " devices; the same classes of links are repeated for all ",
                                    devices));
  }
  return topology;
}

Graph preset_graph(std::string_view name) {
  const Machine& machine = find_machine(name);
  return machine_graph(machine, machine.devices);
}

Topology preset_cluster(std::string_view name, int machines) {
  const Machine& machine = find_machine(name);
  if (machines < 1 || machines > kMaxDevices / machine.devices) {
    fail(ErrorCode::invalid_argument, "a cluster of ", name, " has 1 to ",
         kMaxDevices / machine.devices, " machines, not ", machines);
  }
  Builder builder;
  const int network =
      builder.vertex(VertexKind::network_switch, "network", "simulated network, never blocking");
  for (int i = 0; i < machines; ++i) {
    builder.add(machine, machine.devices, concat("machine", i, "."));
    builder.add_network(network);
  }
  Topology topology = Topology::from_graph(concat(machines, " x ", name), builder.graph());
  add_notes(machine, &topology);
  topology.notes.push_back(
      "network: hypothetical, a 400 Gb/s NIC for each GPU on a network that never blocks");
  return topology;
}

int preset_size(std::string_view name) { return find_machine(name).devices; }

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Machine& machine : kMachines) names.emplace_back(machine.name);
  return names;
}

}  // namespace weft::topology
