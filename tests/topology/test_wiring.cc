// The probe's reading of NVML and sysfs, on machines made of fake tables, and probe() on this one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "topology/topology.h"
#include "topology/wiring.h"

namespace {

using namespace weft::topology;

struct FakeLink {
  bool active = true;
  int remote_type = 0;  // 0: a GPU
  unsigned int remote_bus = 0;
  unsigned int speed = 26562;
};

struct FakeDevice {
  std::vector<FakeLink> links;
};

// By PCI bus; NVML functions take no context, so this is global.
std::map<unsigned int, FakeDevice> machine;
int ancestor_level = 50;

unsigned int bus_of(NvmlDevice handle) {
  return static_cast<unsigned int>(reinterpret_cast<std::uintptr_t>(handle));
}
const FakeLink* find_link(NvmlDevice handle, unsigned int link) {
  const FakeDevice& device = machine.at(bus_of(handle));
  return link < device.links.size() ? &device.links[link] : nullptr;
}

NvmlApi fake_nvml() {
  NvmlApi api;
  api.init = [] { return kNvmlSuccess; };
  api.handle_by_pci = [](const char* address, NvmlDevice* device) {
    const auto bus = std::strtoul(std::string(address).substr(5, 2).c_str(), nullptr, 16);
    *device = reinterpret_cast<NvmlDevice>(bus);
    return machine.contains(static_cast<unsigned int>(bus)) ? kNvmlSuccess : 6;
  };
  api.link_state = [](NvmlDevice device, unsigned int number, int* active) {
    const FakeLink* link = find_link(device, number);
    if (!link) return 2;
    *active = link->active ? 1 : 0;
    return kNvmlSuccess;
  };
  api.link_remote_type = [](NvmlDevice device, unsigned int number, int* type) {
    *type = find_link(device, number)->remote_type;
    return kNvmlSuccess;
  };
  api.link_remote_pci = [](NvmlDevice device, unsigned int number, NvmlPciInfo* info) {
    info->bus = find_link(device, number)->remote_bus;
    return kNvmlSuccess;
  };
  api.common_ancestor = [](NvmlDevice, NvmlDevice, int* level) {
    *level = ancestor_level;
    return kNvmlSuccess;
  };
  api.field_values = [](NvmlDevice device, int count, NvmlFieldValue* values) {
    for (int i = 0; i < count; ++i) {
      values[i].status = values[i].field == kNvmlFieldLinkSpeed ? kNvmlSuccess : 3;
      values[i].value_type = kNvmlTypeUnsignedInt;
      values[i].value.as_uint = find_link(device, values[i].scope)->speed;
    }
    return kNvmlSuccess;
  };
  return api;
}

using Addresses = std::vector<std::optional<std::string>>;
const Addresses kThree = {"0000:1b:00.0", "0000:2a:00.0", "0000:3c:00.0"};

bool any_note(const std::vector<std::string>& notes, const std::string& start) {
  return std::any_of(notes.begin(), notes.end(),
                     [&](const std::string& note) { return note.starts_with(start); });
}

}  // namespace

TEST_CASE("NVLinks to a switch join every pair of devices, with the count of the one with fewer") {
  const FakeLink to_switch{true, kNvmlRemoteIsSwitch, 0xff, 26562};
  const FakeLink inactive{false, kNvmlRemoteIsSwitch, 0xff, 26562};
  machine = {{0x1b, {std::vector<FakeLink>(18, to_switch)}},
             {0x2a, {std::vector<FakeLink>(18, to_switch)}},
             {0x3c, {std::vector<FakeLink>(18, to_switch)}}};
  machine[0x3c].links[5] = inactive;
  std::vector<std::string> notes;
  const NvmlApi nvml = fake_nvml();
  const std::vector<Link> links = find_links(&nvml, kThree, &notes);
  REQUIRE(links.size() == 9);
  CHECK(links[0].kind == PathKind::self);
  CHECK(links[1].kind == PathKind::nvlink);
  CHECK(links[1].count == 18);
  CHECK(*links[1].bytes_per_second == doctest::Approx(18 * 26.562e9));
  CHECK(links[2].count == 17);
  CHECK(links[7].count == 17);
  CHECK(!links[1].latency_seconds.has_value());
  CHECK(any_note(notes, "latency_seconds: "));
  CHECK(!any_note(notes, "bytes_per_second: "));
}

TEST_CASE("direct NVLinks are found by the remote address, other pairs have their PCIe path") {
  machine = {{0x1b, {{{true, 0, 0x2a, 25000}, {true, 0, 0x2a, 25000}, {true, 0, 0x99, 25000}}}},
             {0x2a, {{{true, 0, 0x1b, 25000}, {true, 0, 0x1b, 25000}}}},
             {0x3c, {}}};
  const std::vector<std::pair<int, PathKind>> levels = {
      {0, PathKind::pix},   {10, PathKind::pix}, {20, PathKind::pxb},    {30, PathKind::phb},
      {40, PathKind::node}, {50, PathKind::sys}, {70, PathKind::unknown}};
  const NvmlApi nvml = fake_nvml();
  for (const auto& [level, kind] : levels) {
    ancestor_level = level;
    std::vector<std::string> notes;
    const std::vector<Link> links = find_links(&nvml, kThree, &notes);
    CHECK(links[1].kind == PathKind::nvlink);
    CHECK(links[1].count == 2);
    CHECK(links[3].count == 2);
    CHECK(*links[3].bytes_per_second == doctest::Approx(50e9));
    CHECK(links[2].kind == kind);
    CHECK(links[2].count == 0);
    CHECK(!links[2].bytes_per_second.has_value());
    CHECK(any_note(notes, "links: device 0 has 1 active NVLinks whose other end"));
    CHECK(any_note(notes, "bytes_per_second: "));
  }
}

TEST_CASE("an old NVML, an unknown device or no NVML leave unknown paths and a note") {
  machine = {{0x1b, {{{true, 0, 0x2a, 25000}}}}, {0x2a, {}}};
  NvmlApi old = fake_nvml();
  old.link_state = nullptr;
  old.link_remote_type = nullptr;
  old.link_remote_pci = nullptr;
  old.field_values = nullptr;
  old.common_ancestor = nullptr;
  std::vector<std::string> notes;
  CHECK(find_links(&old, kThree, &notes)[1].kind == PathKind::unknown);
  CHECK(any_note(notes, "links: NVML does not know device 2 at 0000:3c:00.0"));
  CHECK(any_note(notes, "links: NVML does not tell the path"));

  const NvmlApi nvml = fake_nvml();
  const Addresses masked = {std::nullopt, "0000:2a:00.0"};
  CHECK(find_links(&nvml, masked, &notes)[1].kind == PathKind::unknown);

  const std::vector<Link> none = find_links(nullptr, kThree, &notes);
  CHECK(none[1].kind == PathKind::unknown);
  CHECK(none[4].kind == PathKind::self);
}

TEST_CASE("the NUMA node is read from sysfs; -1 and a missing file are nothing") {
  const std::filesystem::path root = std::filesystem::temp_directory_path() /
                                     ("weft-sysfs-" + std::to_string(std::random_device()()));
  const std::filesystem::path folder = root / "bus/pci/devices/0000:1b:00.0";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "numa_node") << "1\n";
  CHECK(find_numa_node("0000:1b:00.0", root.string()) == 1);
  std::ofstream(folder / "numa_node") << "-1\n";
  CHECK(!find_numa_node("0000:1b:00.0", root.string()).has_value());
  CHECK(!find_numa_node("0000:2a:00.0", root.string()).has_value());
  std::filesystem::remove_all(root);
}

TEST_CASE("probe() never throws, finds the CUDA devices there are, or says why there are none") {
  const Topology found = probe();
  CHECK(!found.simulated());
  CHECK(found.size() == weft::device_count(weft::DeviceKind::cuda));
  CHECK((found.size() > 0 || any_note(found.notes, "devices: ")));
}
