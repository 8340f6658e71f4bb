// How devices are wired, as the driver tells: NVLinks by NVML, else the class of the PCIe path.
//
// Nothing here throws. What cannot be found out is PathKind::unknown or nullopt, with a line in
// `notes`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/probe/nvml.h"
#include "topology/topology.h"

namespace weft::topology {

// An active NVLink of a device.
struct PortLink {
  unsigned int number = 0;
  bool to_switch = false;
  std::optional<std::size_t> device{};  // at the other end, if it is one of those asked about
  std::optional<std::string> remote{};  // PCI address of the other end, if it is told
  std::optional<std::int32_t> generation{};
  std::optional<double> bytes_per_second{};
};

// One device as NVML shows it.
struct Port {
  NvmlDevice handle = nullptr;  // null: NVML does not know it
  std::vector<PortLink> links;
};

std::vector<Port> find_ports(const NvmlApi& nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes);
std::vector<Link> find_links(const NvmlApi& nvml, const std::vector<Port>& ports,
                             std::vector<std::string>* notes);

// The CPUs near the device at that address, as "0-15,64-79"; nullopt where NVML does not tell.
std::optional<std::string> find_affinity(const NvmlApi& nvml, const std::string& address);

// The paths between the devices with those PCI addresses, size x size, row-major, without peer
// access. An active NVLink whose other end is a switch joins its device with every device that has
// one; two such devices have as many links as the one with fewer. `nvml` may be null: then all is
// unknown.
std::vector<Link> find_links(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes);

}  // namespace weft::topology
