// Looks at this machine: devices and peer access by the Device interface, wiring by the driver.
#include <exception>
#include <utility>

#include "core/base/error.h"
#include "core/device/device.h"
#include "topology/topology.h"
#include "topology/wiring.h"

namespace weft::topology {
namespace {

DeviceId cuda_id(int ordinal) { return {DeviceKind::cuda, DeviceOrdinal(ordinal)}; }

std::string why_no_devices() {
  std::string why_not;
  const int present = driver_device_count(&why_not);
  if (present < 0) return concat("devices: ", why_not);
  if (present == 0) return "devices: the CUDA driver sees none";
  return concat("devices: the CUDA driver sees ", present,
                ", but this build of weft has no CUDA or cannot use them");
}

std::vector<Node> find_nodes(int count, std::vector<std::string>* notes) {
  std::vector<Node> nodes;
  for (int i = 0; i < count; ++i) {
    Node node{cuda_id(i), device(cuda_id(i)).name(), std::nullopt, driver_pci_address(i)};
    if (!node.pci) {
      notes->push_back(concat("pci, numa: the driver does not tell the PCI address of cuda:", i));
    } else if (node.numa = find_numa_node(*node.pci); !node.numa) {
      notes->push_back(concat("numa: the system does not tell the node of cuda:", i));
    }
    nodes.push_back(std::move(node));
  }
  return nodes;
}

Topology probe_devices(int count, std::vector<std::string>* notes) {
  std::vector<Node> nodes = find_nodes(count, notes);
  std::vector<std::optional<std::string>> addresses;
  for (const Node& node : nodes) addresses.push_back(node.pci);
  std::string why_not;
  const NvmlApi* nvml = load_nvml(&why_not);
  if (!nvml) notes->push_back(concat("links: ", why_not));
  std::vector<Link> links = find_links(nvml, addresses, notes);
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      links[static_cast<std::size_t>(from * count + to)].peer_access =
          from == to || device(cuda_id(from)).can_access(cuda_id(to));
    }
  }
  return Topology("this machine", std::move(nodes), std::move(links));
}

}  // namespace

Topology probe() {
  std::vector<std::string> notes;
  Topology found("this machine", {}, {});
  try {
    const int count = device_count(DeviceKind::cuda);
    if (count == 0) {
      notes.push_back(why_no_devices());
    } else {
      found = probe_devices(count, &notes);
    }
  } catch (const std::exception& error) {
    notes.push_back(concat("probe: ", error.what()));
  }
  found.notes = std::move(notes);
  return found;
}

}  // namespace weft::topology
