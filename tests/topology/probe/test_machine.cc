// The graph of recorded machines, put together from sysfs, a fake NVML and CUDA's attributes; and
// with parts of these missing.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/topology/probe/fake_nvml.h"
#include "tests/topology/sysfs_tree.h"
#include "topology/probe/machine.h"

namespace {

using namespace weft;
using namespace weft::topology;
using weft::topology::testing::fake_nvml;
using weft::topology::testing::FakeLink;
using weft::topology::testing::machine;
using weft::topology::testing::place_of;
using weft::topology::testing::SysfsTree;

MachineFacts facts_of(const SysfsTree& tree, const std::vector<std::string>& addresses) {
  MachineFacts facts;
  facts.root = tree.root();
  machine = {};
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const auto ordinal = DeviceOrdinal(static_cast<std::int32_t>(i));
    const auto found = read_pci(addresses[i], facts.root);
    facts.nodes.push_back(
        {{DeviceKind::cuda, ordinal}, "GPU", found ? found->numa : std::nullopt, addresses[i]});
    machine.devices[place_of(addresses[i])] = {};
  }
  facts.peers.assign(addresses.size() * addresses.size(), {true, true, 0});
  return facts;
}

const std::vector<std::string> kHgx = {"0000:1b:00.0", "0000:43:00.0", "0000:52:00.0",
                                       "0000:61:00.0", "0000:9d:00.0", "0000:c3:00.0",
                                       "0000:d1:00.0", "0000:df:00.0"};
const std::vector<std::string> kDual = {"0000:23:00.0", "0000:24:00.0", "0000:29:00.0",
                                        "0000:2a:00.0", "0000:a3:00.0", "0000:a4:00.0",
                                        "0000:a9:00.0", "0000:aa:00.0"};
const std::vector<std::string> kVm = {"0000:00:04.0", "0000:00:05.0"};

std::int64_t count(const Graph& graph, VertexKind kind) {
  return std::count_if(graph.vertices.begin(), graph.vertices.end(),
                       [&](const Vertex& vertex) { return vertex.kind == kind; });
}

bool any_note(const std::vector<std::string>& notes, const std::string& part) {
  return std::any_of(notes.begin(), notes.end(),
                     [&](const std::string& note) { return note.find(part) != std::string::npos; });
}

// 18 links of each device over four switches: 5, 5, 4, 4.
void wire_hgx() {
  for (auto& [bus, device] : machine.devices) {
    for (unsigned int link = 0; link < 18; ++link) {
      device.links.push_back({true, kNvmlRemoteIsSwitch, 5 + link % 4, 26562});
    }
  }
}

}  // namespace

TEST_CASE("an HGX board has its switches, bridges, nodes and adapters, and NV18 everywhere") {
  const SysfsTree tree("hgx-h100-8");
  MachineFacts facts = facts_of(tree, kHgx);
  wire_hgx();
  const NvmlApi nvml = fake_nvml();
  facts.nvml = &nvml;
  const Topology made = assemble(facts, {});
  REQUIRE(made.graph());
  CHECK(count(*made.graph(), VertexKind::gpu) == 8);
  CHECK(count(*made.graph(), VertexKind::nvswitch) == 4);
  CHECK(count(*made.graph(), VertexKind::pcie_switch) == 9);
  CHECK(count(*made.graph(), VertexKind::host_bridge) == 9);
  CHECK(count(*made.graph(), VertexKind::cpu) == 2);
  CHECK(count(*made.graph(), VertexKind::nic) == 8);
  CHECK(made.cell(0, 7) == "NV18");
  CHECK(made.link(0, 7).via == Via::through_switch);
  CHECK(*made.link(3, 4).bytes_per_second == doctest::Approx(18 * 26.562e9));
  CHECK(made.link(3, 4).peer_access);
  CHECK(made.node(5).numa == 1);
  REQUIRE(made.host);
  CHECK(made.host->driver == "580.159.04");
  CHECK(made.host->cuda == "13.0");
  CHECK(made.host->iommu == "passthrough");
  const auto& attributes = made.graph()->vertices[0].attributes;
  REQUIRE(attributes.size() == 3);
  CHECK(attributes[0] == std::pair<std::string, std::string>("cpu_affinity", "0-3,60-64,66"));
  CHECK(attributes[1].first == "native_atomics");
  CHECK(attributes[1].second.starts_with("gpu1 gpu2"));
  CHECK(attributes[2].second.starts_with("gpu1=0 gpu2=0"));
  CHECK(made.link(0, 7).reason == "latency: not told by the system, and not measured");
  for (const Wire& wire : made.graph()->wires) {
    if (wire.kind == WireKind::nvlink) CHECK(wire.generation == 4);
  }
}

TEST_CASE("without NVML the classes follow from the PCIe tree") {
  const SysfsTree tree("dual-socket-8");
  const Topology made = assemble(facts_of(tree, kDual), {});
  CHECK(made.cell(0, 1) == "PIX");
  CHECK(made.cell(0, 2) == "PHB");
  CHECK(made.cell(0, 4) == "SYS");
  CHECK(made.link(0, 1).via == Via::through_switch);
  CHECK(*made.link(0, 1).bytes_per_second == doctest::Approx(31.5e9).epsilon(0.001));
  CHECK(any_note(made.notes, "latency_seconds: "));
  const SysfsTree hgx("hgx-h100-8");
  const Topology no_nvlinks = assemble(facts_of(hgx, kHgx), {});
  CHECK(no_nvlinks.cell(0, 1) == "NODE");
  CHECK(no_nvlinks.cell(0, 4) == "SYS");
  CHECK(count(*no_nvlinks.graph(), VertexKind::nvswitch) == 0);
}

TEST_CASE("a virtual machine: switches whose addresses are masked are one vertex") {
  const SysfsTree tree("vm-2");
  MachineFacts facts = facts_of(tree, kVm);
  for (auto& [place, device] : machine.devices) {
    device.links.assign(18, {true, kNvmlRemoteIsSwitch, 0, 26562});
  }
  const NvmlApi nvml = fake_nvml();
  facts.nvml = &nvml;
  const Topology made = assemble(facts, {});
  REQUIRE(made.graph());
  CHECK(count(*made.graph(), VertexKind::nvswitch) == 1);
  CHECK(made.cell(0, 1) == "NV18");
  CHECK(count(*made.graph(), VertexKind::host_bridge) == 1);
  const Topology bare = assemble(facts_of(tree, kVm), {});
  CHECK(bare.cell(0, 1) == "PHB");
}

TEST_CASE("NVLinks without a switch join the pair, counted once") {
  const SysfsTree tree("vm-2");
  MachineFacts facts = facts_of(tree, kVm);
  machine.devices.clear();
  facts.nodes[0].pci = "0000:1b:00.0";  // not in this sysfs
  facts.nodes[1].pci = "0000:2a:00.0";
  machine.devices[0x1b].links.assign(4, {true, 0, 0x2a, 25000});
  machine.devices[0x2a].links.assign(4, {true, 0, 0x1b, 25000});
  const NvmlApi nvml = fake_nvml();
  facts.nvml = &nvml;
  const Topology made = assemble(facts, {});
  REQUIRE(made.graph());
  const auto& wires = made.graph()->wires;
  const auto joined = std::find_if(wires.begin(), wires.end(),
                                   [](const Wire& wire) { return wire.kind == WireKind::nvlink; });
  REQUIRE(joined != wires.end());
  CHECK(joined->count == 4);
  CHECK(*joined->bytes_per_second == 100e9);
  CHECK(made.link(0, 1).via == Via::direct);
  CHECK(any_note(made.notes, "pcie: sysfs does not show cuda:0 at 0000:1b:00.0"));
}

TEST_CASE("with nothing to go by there is no graph, and the reasons are noted") {
  MachineFacts facts;
  facts.root = {"/nonexistent/sys", "/nonexistent/proc"};
  facts.nodes = {{{DeviceKind::cuda, DeviceOrdinal(0)}, "GPU", {}, "0000:1b:00.0"},
                 {{DeviceKind::cuda, DeviceOrdinal(1)}, "GPU", {}, std::nullopt}};
  facts.peers.assign(4, {false, {}, {}});
  const Topology made = assemble(facts, {"links: no NVML"});
  CHECK_FALSE(made.graph().has_value());
  CHECK(made.cell(0, 1) == "?");
  CHECK_FALSE(made.link(0, 1).peer_access);
  CHECK(any_note(made.notes, "links: no NVML"));
  CHECK(any_note(made.notes, "graph: neither NVML nor sysfs"));
  CHECK(any_note(made.notes, "nor any other PCI device"));
  CHECK_FALSE(made.host->iommu.has_value());
}

TEST_CASE("a pair that lied in one direction is quarantined in both, and reported once") {
  const SysfsTree tree("vm-2");
  MachineFacts facts = facts_of(tree, kVm);
  facts.checks = {{true, {}}, {true, {}}, {false, "kernel store: 4 of 65536 bytes"}, {true, {}}};
  const Topology made = assemble(facts, {});
  for (const auto& [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
    CHECK(made.link(from, to).verified == false);
    CHECK_FALSE(made.link(from, to).peer_access);
    CHECK(made.link(from, to).reason ==
          "quarantined: gpu1 -> gpu0: kernel store: 4 of 65536 bytes");
  }
  CHECK(std::count_if(made.notes.begin(), made.notes.end(), [](const std::string& note) {
          return note.starts_with("verify: quarantined");
        }) == 1);
  facts.checks[2] = {true, {}};
  CHECK(assemble(facts, {}).link(1, 0).verified == true);
  facts.checks.clear();
  CHECK_FALSE(assemble(facts, {}).link(1, 0).verified.has_value());
}
