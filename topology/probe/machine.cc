// See machine.h.
#include "topology/probe/machine.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "core/base/error.h"
#include "topology/paths.h"
#include "topology/probe/wiring.h"

namespace weft::topology {
namespace {

class Builder {
 public:
  Builder(const MachineFacts& facts, const std::vector<Port>& ports,
          std::vector<std::string>* notes)
      : facts_(facts), ports_(ports), notes_(notes), system_(read_system(facts.root)) {}

  Graph build() {
    for (std::size_t i = 0; i < facts_.nodes.size(); ++i) add_gpu(i);
    for (std::size_t i = 0; i < ports_.size(); ++i) add_nvlinks(i);
    add_cpus();
    for (std::size_t i = 0; i < facts_.nodes.size(); ++i) add_gpu_path(i);
    for (const PciDevice& device : list_pci(facts_.root)) add_other(device);
    return std::move(graph_);
  }

 private:
  // The vertex of that id, made where there is none yet.
  int vertex(VertexKind kind, const std::string& id, const std::string& name) {
    const auto [found, is_new] = by_id_.try_emplace(id, static_cast<int>(graph_.vertices.size()));
    if (is_new) graph_.vertices.push_back({kind, id, name});
    return found->second;
  }
  Vertex& at(int i) { return graph_.vertices[static_cast<std::size_t>(i)]; }

  // A wire of that kind between the two, once.
  Wire& wire(int a, int b, WireKind kind) {
    for (Wire& old : graph_.wires) {
      const bool same = (old.a == a && old.b == b) || (old.a == b && old.b == a);
      if (same && old.kind == kind) return old;
    }
    graph_.wires.push_back({a, b, kind, 0});
    return graph_.wires.back();
  }

  void add_gpu(std::size_t i) {
    const Node& node = facts_.nodes[i];
    const int gpu = vertex(VertexKind::gpu, concat("gpu", i), node.name);
    at(gpu).numa = node.numa;
    at(gpu).pci = node.pci;
    if (facts_.nvml && node.pci) {
      const auto cpus = find_affinity(*facts_.nvml, *node.pci);
      if (cpus) at(gpu).attributes.emplace_back("cpu_affinity", *cpus);
    }
    if (facts_.peers.empty()) return;
    std::string atomics, ranks;
    for (std::size_t to = 0; to < facts_.nodes.size(); ++to) {
      if (to == i) continue;
      const PeerAttributes& peer = facts_.peers[i * facts_.nodes.size() + to];
      if (peer.native_atomics == true) atomics += concat(atomics.empty() ? "" : " ", "gpu", to);
      if (peer.performance_rank) {
        ranks += concat(ranks.empty() ? "" : " ", "gpu", to, "=", *peer.performance_rank);
      }
    }
    if (!atomics.empty()) at(gpu).attributes.emplace_back("native_atomics", atomics);
    if (!ranks.empty()) at(gpu).attributes.emplace_back("performance_rank", ranks);
  }

  void add_nvlinks(std::size_t i) {
    const int gpu = by_id_.at(concat("gpu", i));
    for (const PortLink& link : ports_[i].links) {
      int other = 0;
      if (link.to_switch && link.remote) {
        other = vertex(VertexKind::nvswitch, concat("nvswitch ", *link.remote), "NVSwitch");
        at(other).pci = link.remote;
      } else if (link.to_switch) {
        other = vertex(VertexKind::nvswitch, "nvswitch", "NVSwitches, addresses not told");
      } else if (link.device && *link.device > i) {  // from the one end only
        other = by_id_.at(concat("gpu", *link.device));
      } else {
        continue;
      }
      Wire& joined = wire(gpu, other, WireKind::nvlink);
      ++joined.count;
      joined.generation = link.generation;
      const auto rate = link.bytes_per_second;
      const bool known = joined.count == 1 || joined.bytes_per_second;
      joined.bytes_per_second =
          rate && known ? std::optional(joined.bytes_per_second.value_or(0) + *rate) : std::nullopt;
    }
  }

  void add_cpus() {
    std::vector<int> cpus;
    for (const NumaNode& node : system_.numa_nodes) {
      const int cpu =
          vertex(VertexKind::cpu, concat("numa", node.id), system_.cpu.value_or("processor"));
      at(cpu).numa = node.id;
      if (!node.cpus.empty()) at(cpu).attributes.emplace_back("cpus", node.cpus);
      cpus.push_back(cpu);
    }
    for (std::size_t i = 0; i < cpus.size(); ++i) {
      for (std::size_t j = i + 1; j < cpus.size(); ++j) {
        wire(cpus[i], cpus[j], WireKind::socket).count = 1;
      }
    }
  }

  // The vertex of the NUMA node that a device belongs to. A machine with one node needs not tell.
  std::optional<int> cpu_of(const std::optional<std::int32_t>& numa) {
    const auto& nodes = system_.numa_nodes;
    const std::optional<std::int32_t> id = numa                ? numa
                                           : nodes.size() == 1 ? std::optional(nodes.front().id)
                                                               : std::nullopt;
    if (!id) return std::nullopt;
    const auto found = by_id_.find(concat("numa", *id));
    return found == by_id_.end() ? std::nullopt : std::optional(found->second);
  }

  void join_pcie(int low, int high, const PciDevice& lower_end) {
    Wire& joined = wire(low, high, WireKind::pcie);
    joined.count = 1;
    joined.generation = lower_end.generation;
    joined.width = lower_end.width;
    if (lower_end.generation && lower_end.width) {
      joined.bytes_per_second = pcie_rate(*lower_end.generation, *lower_end.width);
    }
  }

  // From the device up to its NUMA node. Below the root port switches have two bridges each, the
  // upstream port first.
  void add_path(int vertex_of_device, const PciDevice& device) {
    int low = vertex_of_device;
    PciDevice end = device;
    for (std::size_t below = device.bridges.size(); below > 1;
         below -= std::min<std::size_t>(below - 1, 2)) {
      const std::size_t upstream = below > 2 ? below - 2 : below - 1;
      const std::string& address = device.bridges[upstream];
      const int bridge = vertex(VertexKind::pcie_switch, concat("pcie ", address), "PCIe switch");
      at(bridge).pci = address;
      join_pcie(low, bridge, end);
      low = bridge;
      end = read_pci(address, facts_.root).value_or(PciDevice{});
    }
    if (device.root.empty()) return;
    const int root = vertex(VertexKind::host_bridge, device.root, "PCIe host bridge");
    join_pcie(low, root, end);
    const auto cpu = cpu_of(device.numa);
    if (!cpu) {
      notes_->push_back(concat("numa: the system does not tell the node of ", device.address));
      return;
    }
    at(root).numa = at(*cpu).numa;
    wire(root, *cpu, WireKind::bus).count = 1;
  }

  void add_gpu_path(std::size_t i) {
    const Node& node = facts_.nodes[i];
    const auto device = node.pci ? read_pci(*node.pci, facts_.root) : std::nullopt;
    if (device) {
      add_path(by_id_.at(concat("gpu", i)), *device);
    } else if (node.pci) {
      notes_->push_back(concat("pcie: sysfs does not show cuda:", i, " at ", *node.pci,
                               system_.has_pci ? "" : ", nor any other PCI device"));
    }
  }

  void add_other(const PciDevice& device) {
    int made = 0;
    if (device.kind == PciClass::nic) {
      made = vertex(VertexKind::nic, concat("nic ", device.address), "network adapter");
    } else if (device.kind == PciClass::nvswitch) {
      // Those that no GPU of this process is wired to are none of its business.
      const auto found = by_id_.find(concat("nvswitch ", device.address));
      if (found == by_id_.end()) return;
      made = found->second;
    } else {
      return;
    }
    at(made).pci = device.address;
    at(made).numa = device.numa;
    at(made).attributes.emplace_back("class", device.class_code);
    at(made).attributes.emplace_back("vendor", device.vendor);
    at(made).attributes.emplace_back("device", device.device);
    add_path(made, device);
  }

  const MachineFacts& facts_;
  const std::vector<Port>& ports_;
  std::vector<std::string>* notes_;
  System system_;
  Graph graph_;
  std::map<std::string, int> by_id_;
};

std::vector<std::optional<std::string>> addresses_of(const std::vector<Node>& nodes) {
  std::vector<std::optional<std::string>> addresses;
  for (const Node& node : nodes) addresses.push_back(node.pci);
  return addresses;
}

std::optional<Graph> graph_of(const MachineFacts& facts, const std::vector<Port>& ports,
                              std::vector<std::string>* notes) {
  Graph graph = Builder(facts, ports, notes).build();
  if (graph.wires.empty()) {
    notes->push_back("graph: neither NVML nor sysfs tells how the devices are wired");
    return std::nullopt;
  }
  try {
    graph.validate();
  } catch (const Error& error) {
    notes->push_back(concat("graph: what the system tells does not fit: ", error.message()));
    return std::nullopt;
  }
  return graph;
}

// What the driver does not tell of a link, from the graph's way between the two.
void complete(const Link& way, Link* link, bool* differ) {
  if (link->kind == PathKind::unknown) {
    link->kind = way.kind;
    link->count = way.count;
    link->via = way.via;
  } else if (link->kind != way.kind) {
    *differ = true;
    return;
  }
  if (!link->bytes_per_second) link->bytes_per_second = way.bytes_per_second;
  if (!link->latency_seconds) link->latency_seconds = way.latency_seconds;
  if (!link->via) link->via = way.via;
}

// Peer access as CUDA says, and as bytes said.
void add_access(const MachineFacts& facts, std::vector<Link>* links,
                std::vector<std::string>* notes) {
  const std::size_t n = facts.nodes.size();
  for (std::size_t i = 0; i < links->size(); ++i) {
    const std::size_t from = i / n, to = i % n;
    Link& link = (*links)[i];
    link.peer_access = from == to || (!facts.peers.empty() && facts.peers[i].access);
    if (link.peer_access) link.reason.clear();
    if (from == to || facts.checks.empty()) continue;
    const PairCheck& there = facts.checks[i];
    const PairCheck& back = facts.checks[to * n + from];
    if (there.verified && back.verified) link.verified = *there.verified && *back.verified;
    const bool lied = there.verified == false || back.verified == false;
    if (lied) {
      const PairCheck& why = there.verified == false ? there : back;
      const bool backwards = &why == &back;
      link.verified = false;
      link.peer_access = false;
      link.reason = concat("quarantined: gpu", backwards ? to : from, " -> gpu",
                           backwards ? from : to, ": ", why.reason);
      if (from < to) notes->push_back(concat("verify: ", link.reason));
    } else if (!link.verified && link.peer_access && !there.reason.empty()) {
      notes->push_back(concat("verify: gpu", from, " -> gpu", to, ": ", there.reason));
    }
  }
}

// Why a figure of a link is missing, where nothing else is said.
void add_reasons(std::vector<Link>* links) {
  for (Link& link : *links) {
    if (link.kind == PathKind::self || !link.reason.empty()) continue;
    const bool rate = link.bytes_per_second.has_value();
    const bool latency = link.latency_seconds.has_value();
    if (rate && latency) continue;
    link.reason = concat(rate ? "" : "rate", !rate && !latency ? " and " : "",
                         latency ? "" : "latency", ": not told by the system, and not measured");
  }
}

void add_notes(const std::vector<Link>& links, std::vector<std::string>* notes) {
  const auto lacks = [&](auto member) {
    return std::any_of(links.begin(), links.end(), [&](const Link& link) {
      return link.kind != PathKind::self && !(link.*member);
    });
  };
  if (lacks(&Link::bytes_per_second)) {
    notes->push_back(concat("bytes_per_second: the system does not tell every rate", kMeasureHint));
  }
  if (lacks(&Link::latency_seconds)) {
    notes->push_back(concat("latency_seconds: the system does not tell them", kMeasureHint));
  }
}

}  // namespace

std::optional<Graph> build_graph(const MachineFacts& facts, std::vector<std::string>* notes) {
  std::vector<Port> ports;
  if (facts.nvml) ports = find_ports(*facts.nvml, addresses_of(facts.nodes), notes);
  return graph_of(facts, ports, notes);
}

Topology assemble(MachineFacts facts, std::vector<std::string> notes) {
  const auto addresses = addresses_of(facts.nodes);
  const std::size_t n = addresses.size();
  std::vector<Port> ports;
  if (facts.nvml) ports = find_ports(*facts.nvml, addresses, &notes);
  std::vector<Link> links =
      facts.nvml ? find_links(*facts.nvml, ports, &notes) : find_links(nullptr, addresses, &notes);
  std::optional<Graph> graph = graph_of(facts, ports, &notes);
  if (graph) {
    const std::vector<Link> ways = find_paths(*graph);
    bool differ = false;
    for (std::size_t i = 0; i < links.size(); ++i) {
      if (i / n != i % n) complete(ways[i], &links[i], &differ);
    }
    if (differ) notes.push_back("links: NVML and sysfs tell different paths; NVML's are kept");
  }
  add_access(facts, &links, &notes);
  add_reasons(&links);
  add_notes(links, &notes);
  const std::string name = "this machine";
  Host host = read_host(facts.nvml, facts.root);
  Topology made =
      graph ? Topology::of_graph(name, std::move(facts.nodes), std::move(links), std::move(*graph))
            : Topology(name, std::move(facts.nodes), std::move(links));
  made.notes = std::move(notes);
  made.host = std::move(host);
  return made;
}

Host read_host(const NvmlApi* nvml, const SystemRoot& root) {
  const System system = read_system(root);
  Host host;
  host.cpu = system.cpu;
  host.numa_nodes = system.numa_nodes;
  if (system.iommu) host.iommu = iommu_name(*system.iommu);
  std::array<char, 96> text{};
  if (nvml && nvml->driver_version &&
      nvml->driver_version(text.data(), static_cast<unsigned>(text.size())) == kNvmlSuccess) {
    host.driver = text.data();
  }
  int version = 0;
  if (nvml && nvml->cuda_version && nvml->cuda_version(&version) == kNvmlSuccess) {
    host.cuda = concat(version / 1000, ".", version % 1000 / 10);
  }
  return host;
}

}  // namespace weft::topology
