// Known machines as topologies of simulated devices. The figures are in presets/machines.h.
#include <algorithm>
#include <utility>

#include "core/base/error.h"
#include "topology/presets/machines.h"
#include "topology/topology.h"

namespace weft::topology {
namespace {

using presets::kMachines;
using presets::Machine;
using presets::Way;

const Machine& find_machine(std::string_view name) {
  const auto found = std::find_if(kMachines.begin(), kMachines.end(),
                                  [&](const Machine& machine) { return machine.name == name; });
  if (found != kMachines.end()) return *found;
  std::string names;
  for (const std::string& known : preset_names()) names += (names.empty() ? "" : ", ") + known;
  fail(ErrorCode::invalid_argument, "no topology preset is called '", name, "'; there are ", names);
}

Link make_link(const Machine& machine, int from, int to) {
  Link link;
  link.peer_access = true;
  if (from == to) {
    link.kind = PathKind::self;
    return link;
  }
  const Way& way = from / machine.group == to / machine.group ? machine.near : machine.far;
  link.kind = way.kind;
  link.count = way.count;
  link.bytes_per_second = way.bytes_per_second;
  link.latency_seconds = way.latency_seconds;
  return link;
}

}  // namespace

Topology preset(std::string_view name, int devices) {
  const Machine& machine = find_machine(name);
  if (devices < 1 || devices > kMaxSimDevices) {
    fail(ErrorCode::invalid_argument, "a preset has 1 to ", kMaxSimDevices, " devices, not ",
         devices);
  }
  std::vector<Node> nodes;
  std::vector<Link> links;
  for (int i = 0; i < devices; ++i) {
    const int place = i % machine.devices;
    nodes.push_back({DeviceId{DeviceKind::sim, DeviceOrdinal(i)}, std::string(machine.device),
                     place / machine.devices_per_numa_node, std::nullopt});
    for (int to = 0; to < devices; ++to) links.push_back(make_link(machine, i, to));
  }
  Topology topology(std::string(machine.name), std::move(nodes), std::move(links));
  topology.set_simulated(true);
  topology.notes.push_back(concat("source: ", machine.source));
  topology.notes.push_back("pci: simulated devices have no PCI address");
  if (devices > machine.devices) {
    topology.notes.push_back(concat("size: ", machine.name, " has ", machine.devices,
                                    " devices; the same classes of links are repeated for all ",
                                    devices));
  }
  return topology;
}

int preset_size(std::string_view name) { return find_machine(name).devices; }

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Machine& machine : kMachines) names.emplace_back(machine.name);
  return names;
}

}  // namespace weft::topology
