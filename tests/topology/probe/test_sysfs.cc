// Reading recorded machines' /sys and /proc, and machines that have none.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/topology/sysfs_tree.h"
#include "topology/probe/sysfs.h"

namespace {

using namespace weft::topology;
using weft::topology::testing::SysfsTree;

std::int64_t count(const std::vector<PciDevice>& devices, PciClass kind) {
  return std::count_if(devices.begin(), devices.end(),
                       [&](const PciDevice& device) { return device.kind == kind; });
}

// A bridge's configuration with access control at 0x100, whose control register is `control`.
void write_config(const SysfsTree& tree, const std::string& bridge, char control) {
  std::string bytes(512, '\0');
  bytes[256] = 13;
  bytes[258] = 1;
  bytes[262] = control;
  std::ofstream(tree.path("sys/bus/pci/devices/" + bridge + "/config"), std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("an HGX board: devices with their bridges, links at full speed, NUMA nodes, groups") {
  const SysfsTree tree("hgx-h100-8");
  const std::vector<PciDevice> devices = list_pci(tree.root());
  CHECK(count(devices, PciClass::gpu) == 8);
  CHECK(count(devices, PciClass::nvswitch) == 4);
  CHECK(count(devices, PciClass::nic) == 8);
  CHECK(devices.size() == 20);
  const auto gpu = read_pci("0000:9d:00.0", tree.root());
  REQUIRE(gpu);
  CHECK(gpu->root == "pci0000:97");
  CHECK(gpu->bridges == std::vector<std::string>{"0000:97:01.0", "0000:98:00.0", "0000:99:00.0"});
  CHECK(gpu->generation == 5);  // though its link idles at 2.5 GT/s
  CHECK(gpu->width == 16);
  CHECK(gpu->numa == 1);
  CHECK(gpu->iommu_type == "identity");
  CHECK_FALSE(gpu->acs_redirects.has_value());  // the configuration is not to be read
  const System system = read_system(tree.root());
  CHECK(system.cpu == "Intel(R) Xeon(R) Platinum 8480C");
  REQUIRE(system.numa_nodes.size() == 2);
  CHECK(system.numa_nodes[1].cpus == "56-111,168-223");
  CHECK(system.iommu == Iommu::passthrough);
  CHECK_FALSE(system.virtual_machine);
  CHECK(system.has_pci);
}

TEST_CASE("a link is as fast as its slower end") {
  const SysfsTree tree("dual-socket-8");
  const auto upstream = read_pci("0000:21:00.0", tree.root());
  REQUIRE(upstream);
  CHECK(upstream->generation == 4);  // below a port of generation 5
  CHECK(read_system(tree.root()).iommu == Iommu::on);
}

TEST_CASE("a virtual machine tells little") {
  const SysfsTree tree("vm-2");
  const auto gpu = read_pci("0000:00:04.0", tree.root());
  REQUIRE(gpu);
  CHECK(gpu->bridges.empty());
  CHECK(gpu->root == "pci0000:00");
  CHECK_FALSE(gpu->numa.has_value());
  CHECK_FALSE(gpu->iommu_group.has_value());
  CHECK(gpu->acs_redirects == false);  // there is no bridge to do so
  const System system = read_system(tree.root());
  CHECK(system.virtual_machine);
  CHECK(system.iommu == Iommu::off);
  CHECK(system.numa_nodes.size() == 1);
}

TEST_CASE("access control that redirects is seen where the configuration can be read") {
  const SysfsTree tree("dual-socket-8");
  const std::string gpu = "0000:23:00.0";
  const auto acs = [&] { return read_pci(gpu, tree.root())->acs_redirects; };
  write_config(tree, "0000:20:01.1", 0x01);
  write_config(tree, "0000:21:00.0", 0x01);
  CHECK_FALSE(acs().has_value());  // one bridge still unknown
  write_config(tree, "0000:22:00.0", 0x01);
  CHECK(acs() == false);
  write_config(tree, "0000:22:00.0", 0x1d);
  CHECK(acs() == true);
}

TEST_CASE("where there is no sysfs nothing is known, and nothing throws") {
  const SystemRoot nowhere{"/nonexistent/sys", "/nonexistent/proc"};
  const System system = read_system(nowhere);
  CHECK_FALSE(system.cpu.has_value());
  CHECK(system.numa_nodes.empty());
  CHECK_FALSE(system.iommu.has_value());
  CHECK_FALSE(system.has_pci);
  CHECK(list_pci(nowhere).empty());
  CHECK_FALSE(read_pci("0000:1b:00.0", nowhere).has_value());
}

TEST_CASE("odd contents are nothing: texts for numbers, no links, addresses that are none") {
  const SysfsTree tree("vm-2");
  const auto write = [&](const char* file, const char* text) {
    std::ofstream(tree.path("sys/bus/pci/devices/0000:00:04.0") / file) << text;
  };
  write("max_link_speed", "Unknown speed");
  write("current_link_speed", "");
  write("max_link_width", "255");
  write("current_link_width", "0");
  write("numa_node", "many");
  const auto gpu = read_pci("0000:00:04.0", tree.root());
  REQUIRE(gpu);
  CHECK_FALSE(gpu->generation.has_value());
  CHECK_FALSE(gpu->width.has_value());
  CHECK_FALSE(gpu->numa.has_value());
  for (const char* odd : {"", "..", "../../../proc", "0000:99:00.0", "x"}) {
    CHECK_FALSE(read_pci(odd, tree.root()).has_value());
  }
}

TEST_CASE("the rate of a PCIe link counts its encoding") {
  CHECK(*pcie_rate(3, 16) == doctest::Approx(15.75e9).epsilon(0.001));
  CHECK(*pcie_rate(5, 16) == doctest::Approx(63.0e9).epsilon(0.001));
  CHECK(*pcie_rate(1, 1) == 0.25e9);
  CHECK_FALSE(pcie_rate(0, 16).has_value());
  CHECK_FALSE(pcie_rate(9, 16).has_value());
  CHECK_FALSE(pcie_rate(5, 0).has_value());
}
