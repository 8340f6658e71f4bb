// How devices are wired, as the driver tells: NVLinks by NVML, else the class of the PCIe path, and
// NUMA nodes by sysfs.
//
// Nothing here throws. What cannot be found out is PathKind::unknown or nullopt, with a line in
// `notes`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/nvml.h"
#include "topology/topology.h"

namespace weft::topology {

// The paths between the devices with those PCI addresses, size x size, row-major, without peer
// access. An active NVLink whose other end is a switch joins its device with every device that has
// one; two such devices have as many links as the one with fewer. `nvml` may be null: then all is
// unknown.
std::vector<Link> find_links(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes);

// The NUMA node of a PCI device: `sysfs`/bus/pci/devices/ADDRESS/numa_node, nullopt for none (-1).
std::optional<std::int32_t> find_numa_node(const std::string& address,
                                           const std::string& sysfs = "/sys");

}  // namespace weft::topology
