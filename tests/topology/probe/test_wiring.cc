// The probe's reading of NVML, on machines made of fake tables.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/topology/probe/fake_nvml.h"
#include "topology/probe/wiring.h"
#include "topology/topology.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;

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
  machine = {};
  for (const unsigned int bus : {0x1bU, 0x2aU, 0x3cU}) {
    machine.devices[bus].links.assign(18, to_switch);
  }
  machine.devices[0x3c].links[5] = inactive;
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
  CHECK(links[1].via == Via::through_switch);
  CHECK(notes.empty());
}

TEST_CASE("direct NVLinks are found by the remote address, other pairs have their PCIe path") {
  machine.devices = {
      {0x1b, {{{true, 0, 0x2a, 25000}, {true, 0, 0x2a, 25000}, {true, 0, 0x99, 25000}}}},
      {0x2a, {{{true, 0, 0x1b, 25000}, {true, 0, 0x1b, 25000}}}},
      {0x3c, {}}};
  const std::vector<std::pair<int, PathKind>> levels = {
      {0, PathKind::pix},   {10, PathKind::pix}, {20, PathKind::pxb},    {30, PathKind::phb},
      {40, PathKind::node}, {50, PathKind::sys}, {70, PathKind::unknown}};
  const NvmlApi nvml = fake_nvml();
  for (const auto& [level, kind] : levels) {
    machine.ancestor_level = level;
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
    CHECK(links[1].via == Via::direct);
  }
}

TEST_CASE("an old NVML, an unknown device or no NVML leave unknown paths and a note") {
  machine.devices = {{0x1b, {{{true, 0, 0x2a, 25000}}}}, {0x2a, {}}};
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

TEST_CASE("links tell their generation and their other end, masked addresses are none") {
  machine = {};
  machine.devices[0x1b].links = {{true, kNvmlRemoteIsSwitch, 0xc1, 26562, 6},
                                 {true, kNvmlRemoteIsSwitch, 0, 26562, 7},
                                 {true, 0, 0x2a, 25000, 99}};
  machine.devices[0x2a] = {};
  std::vector<std::string> notes;
  const std::vector<Port> ports = find_ports(fake_nvml(), {"0000:1b:00.0", "0000:2a:00.0"}, &notes);
  REQUIRE(ports[0].links.size() == 3);
  CHECK(ports[0].links[0].remote == "0000:c1:00.0");
  CHECK(ports[0].links[0].generation == 4);
  CHECK_FALSE(ports[0].links[1].remote.has_value());
  CHECK(ports[0].links[1].generation == 5);
  CHECK(ports[0].links[2].device == 1);
  CHECK_FALSE(ports[0].links[2].generation.has_value());
}

TEST_CASE("a pair without peer access has NVML's reason") {
  machine = {};
  machine.devices = {{0x1b, {}}, {0x2a, {}}};
  machine.peer_status = 1;
  std::vector<std::string> notes;
  const NvmlApi nvml = fake_nvml();
  const auto links = find_links(&nvml, {"0000:1b:00.0", "0000:2a:00.0"}, &notes);
  CHECK(links[1].reason == "peer access: the chipset does not support it");
}

TEST_CASE("CPUs near a device are a list of ranges") {
  machine = {};
  machine.devices[0x1b] = {};
  NvmlApi nvml = fake_nvml();
  CHECK(find_affinity(nvml, "0000:1b:00.0") == "0-3,60-64,66");
  CHECK_FALSE(find_affinity(nvml, "0000:2a:00.0").has_value());
  nvml.cpu_affinity = [](NvmlDevice, unsigned int, unsigned long*) { return kNvmlSuccess; };
  CHECK_FALSE(find_affinity(nvml, "0000:1b:00.0").has_value());
}
