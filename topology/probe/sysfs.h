// What Linux tells of the machine: the PCIe tree, NUMA nodes, the IOMMU, the processor.
//
// Plain reading of text files below a root that tests choose. Nothing here throws; what is not
// there (a container without sysfs, another system) is nullopt or empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/topology.h"

namespace weft::topology {

// Where the files are.
struct SystemRoot {
  std::string sysfs = "/sys";
  std::string proc = "/proc";
};

enum class PciClass : std::uint8_t { gpu, nvswitch, nic, bridge, other };

struct PciDevice {
  std::string address;  // "0000:1b:00.0"
  PciClass kind = PciClass::other;
  std::string class_code, vendor, device;  // "0x030200", "0x10de", "0x2335"; empty if not told
  // Of its link towards the host: the most that both ends can do, and the lanes in use.
  std::optional<std::int32_t> generation, width;
  std::optional<std::int32_t> numa;
  std::optional<std::int32_t> iommu_group;
  std::optional<std::string> iommu_type;  // of its group: "DMA", "DMA-FQ", "identity"
  std::string root;                       // "pci0000:17": the host bridge that it hangs on
  std::vector<std::string> bridges;       // PCI addresses from the host bridge down to it
  // Whether access control on one of these bridges sends peers' requests by the host; nullopt where
  // the configuration cannot be read, which takes root.
  std::optional<bool> acs_redirects;
};

enum class Iommu : std::uint8_t { off, passthrough, on };
const char* iommu_name(Iommu iommu);  // "off", "passthrough", "on"

struct System {
  std::optional<std::string> cpu;  // "Intel(R) Xeon(R) Platinum 8480C"
  std::vector<NumaNode> numa_nodes;
  std::optional<Iommu> iommu;
  bool virtual_machine = false;
  bool has_pci = false;  // false: no PCI devices are to be seen
};

System read_system(const SystemRoot& root = {});
// nullopt if there is no such device.
std::optional<PciDevice> read_pci(const std::string& address, const SystemRoot& root = {});
// GPUs of NVIDIA, NVSwitches and network adapters, by address.
std::vector<PciDevice> list_pci(const SystemRoot& root = {});

// Bytes per second, one direction, of a PCIe link, after its encoding; nullopt for generations that
// are not known.
std::optional<double> pcie_rate(std::int32_t generation, std::int32_t width);

}  // namespace weft::topology
