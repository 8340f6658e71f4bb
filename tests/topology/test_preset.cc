// Known machines.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "tests/topology/machines.h"
#include "topology/search.h"
#include "topology/topology.h"

namespace {

using weft::Error;
using weft::ErrorCode;
using namespace weft::topology;
using weft::topology::testing::error_of;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("every preset gives every size from 1 to 64 with rates, latencies and peer access") {
  for (const std::string& name : preset_names()) {
    for (int n = 1; n <= 64; ++n) {
      CAPTURE(name);
      CAPTURE(n);
      const Topology topology = preset(name, n);
      REQUIRE(topology.size() == n);
      CHECK(topology.simulated());
      CHECK(topology.node(n - 1).device.ordinal == weft::DeviceOrdinal(n - 1));
      CHECK(topology.node(n - 1).numa.has_value());
      bool complete = true;
      for (int from = 0; from < n; ++from) {
        for (int to = 0; to < n; ++to) {
          const Link& link = topology.link(from, to);
          const Link& back = topology.link(to, from);
          complete = complete && link.peer_access && link.kind == back.kind;
          if (from == to) {
            complete = complete && link.kind == PathKind::self;
          } else {
            complete = complete && *link.bytes_per_second > 1e9 && *link.latency_seconds > 0;
          }
        }
      }
      CHECK(complete);
    }
  }
}

TEST_CASE("presets have the wiring of their machines") {
  CHECK(preset_names() == std::vector<std::string>{"hgx-h200", "dgx-h100", "dgx-a100", "hgx-b200",
                                                   "gb200-nvl72", "dgx-1v", "pcie-4",
                                                   "dual-socket-8-pcie", "pair-nvlink"});
  const Topology h200 = preset(kDefaultPreset, 8);
  CHECK(h200.cell(0, 7) == "NV18");
  CHECK(*h200.link(0, 7).bytes_per_second == doctest::Approx(386e9));
  CHECK(*h200.link(7, 0).latency_seconds == doctest::Approx(0.64e-6));
  CHECK(*h200.node(3).numa == 0);
  CHECK(*h200.node(4).numa == 1);
  CHECK(preset("dgx-h100", 2).cell(0, 1) == "NV18");
  CHECK(preset("dgx-a100", 2).cell(0, 1) == "NV12");
  CHECK(*preset("dgx-a100", 2).link(0, 1).bytes_per_second < 300e9);
  CHECK(preset("pair-nvlink", 2).cell(1, 0) == "NV12");
  CHECK(preset("hgx-b200", 8).cell(3, 5) == "NV18");
  CHECK(preset("gb200-nvl72", 72).cell(0, 71) == "NV18");
  CHECK(preset("gb200-nvl72", 72).link(0, 71).via == Via::through_switch);
  CHECK(preset("pcie-4", 4).matrix()[1] == std::vector<std::string>{"PIX", "X", "SYS", "SYS"});
}

TEST_CASE("a DGX-1V is a hybrid cube mesh of single and double NVLinks") {
  const std::vector<std::vector<std::string>> matrix = {
      {"X", "NV1", "NV1", "NV2", "NV2", "SYS", "SYS", "SYS"},
      {"NV1", "X", "NV2", "NV1", "SYS", "NV2", "SYS", "SYS"},
      {"NV1", "NV2", "X", "NV2", "SYS", "SYS", "NV1", "SYS"},
      {"NV2", "NV1", "NV2", "X", "SYS", "SYS", "SYS", "NV1"},
      {"NV2", "SYS", "SYS", "SYS", "X", "NV1", "NV1", "NV2"},
      {"SYS", "NV2", "SYS", "SYS", "NV1", "X", "NV2", "NV1"},
      {"SYS", "SYS", "NV1", "SYS", "NV1", "NV2", "X", "NV2"},
      {"SYS", "SYS", "SYS", "NV1", "NV2", "NV1", "NV2", "X"}};
  const Topology machine = preset("dgx-1v", 8);
  CHECK(machine.matrix() == matrix);
  CHECK(machine.link(0, 3).via == Via::direct);
  CHECK(*machine.link(0, 3).bytes_per_second == doctest::Approx(47.9e9));
  CHECK(find_cliques(machine).cliques ==
        std::vector<std::vector<int>>{{0, 1, 2, 3}, {0, 4}, {1, 5}, {2, 6}, {3, 7}, {4, 5, 6, 7}});
}

TEST_CASE("eight PCIe cards on two sockets see switches, sockets and what is between") {
  const Topology machine = preset("dual-socket-8-pcie", 8);
  CHECK(machine.matrix()[2] ==
        std::vector<std::string>{"NODE", "NODE", "X", "PIX", "SYS", "SYS", "SYS", "SYS"});
  CHECK(*machine.link(0, 1).bytes_per_second > *machine.link(0, 2).bytes_per_second);
  CHECK(*machine.link(0, 2).bytes_per_second > *machine.link(0, 4).bytes_per_second);
  CHECK(find_cliques(machine).cliques ==
        std::vector<std::vector<int>>{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
}

// What simulations, tunings and records were made with.
TEST_CASE("the rates and latencies of presets stay as they were") {
  const double efficiency = 386.0 / (18 * 26.562);
  const double pcie4 = 16e9 * 16 * 128 / 130 / 8;
  const auto check = [](const char* name, int devices, int to, double rate, double latency) {
    CAPTURE(name);
    const Link link = preset(name, devices).link(0, to);
    CHECK(*link.bytes_per_second == doctest::Approx(rate).epsilon(1e-10));
    CHECK(*link.latency_seconds == doctest::Approx(latency).epsilon(1e-10));
  };
  for (const int devices : {2, 8, 9, 64}) {
    check("hgx-h200", devices, devices - 1, 386e9, 0.64e-6);
    check("dgx-h100", devices, devices - 1, 375e9, 0.64e-6);
    check("dgx-a100", devices, devices - 1, 12 * 25e9 * efficiency, 0.64e-6);
    check("pair-nvlink", devices, devices - 1, 12 * 26.562e9 * efficiency, 0.64e-6);
    check("pcie-4", devices, 1, pcie4 * 0.86, 1.5e-6);
  }
  for (const int to : {2, 3, 4, 5}) check("pcie-4", 8, to, pcie4 * 0.62, 2.5e-6);
  CHECK(*preset("hgx-h200", 8).link(0, 1).bytes_per_second == 386e9);
  CHECK(*preset("dgx-h100", 8).link(0, 1).bytes_per_second == 375e9);
}

TEST_CASE("a preset's graph is its hardware, and its topology has it") {
  for (const std::string& name : preset_names()) {
    CAPTURE(name);
    const Graph graph = preset_graph(name);
    CHECK_NOTHROW(graph.validate());
    const int size = preset_size(name);
    CHECK(graph.gpus().size() == static_cast<std::size_t>(size));
    CHECK(*preset(name, size).graph() == graph);
    CHECK(!preset(name, std::max(size, 64)).notes.front().empty());
  }
  const Graph rack = preset_graph("gb200-nvl72");
  const auto count = [&](VertexKind kind) {
    return std::count_if(rack.vertices.begin(), rack.vertices.end(),
                         [&](const Vertex& vertex) { return vertex.kind == kind; });
  };
  CHECK(count(VertexKind::gpu) == 72);
  CHECK(count(VertexKind::nvswitch) == 18);
  CHECK(count(VertexKind::cpu) == 36);
  CHECK(!preset("hgx-h200", 9).graph().has_value());
}

TEST_CASE("machines in a cluster are joined by a network") {
  const Topology cluster = preset_cluster("gb200-nvl72", 8);
  CHECK(cluster.size() == 576);
  CHECK(cluster.cell(0, 71) == "NV18");
  CHECK(cluster.cell(0, 72) == "NET");
  CHECK(*cluster.link(575, 0).bytes_per_second == 50e9);
  CHECK(cluster.notes.back().starts_with("network: hypothetical"));
  CHECK(preset_cluster("pcie-4", 2).cell(3, 4) == "NET");
  for (const int machines : {0, 15}) {
    const Error error = error_of([&] { (void)preset_cluster("gb200-nvl72", machines); });
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK(contains(error.message(), "1 to 14 machines"));
  }
}

TEST_CASE("a preset knows how many devices its machine has") {
  CHECK(preset_size("hgx-h200") == 8);
  CHECK(preset_size("pcie-4") == 4);
  CHECK(preset_size("pair-nvlink") == 2);
  CHECK(error_of([] { (void)preset_size("dgx-9000"); }).code() == ErrorCode::invalid_argument);
}

TEST_CASE("a preset beyond its machine says so, within it does not") {
  const auto says_so = [](const Topology& topology) {
    return std::any_of(topology.notes.begin(), topology.notes.end(),
                       [](const std::string& note) { return note.starts_with("size: "); });
  };
  CHECK(!says_so(preset("pcie-4", 4)));
  CHECK(says_so(preset("pcie-4", 5)));
  CHECK(says_so(preset("pair-nvlink", 3)));
}

TEST_CASE("a preset that cannot be is InvalidArgument and says what there is") {
  const Error name = error_of([] { (void)preset("dgx-9000", 4); });
  CHECK(name.code() == ErrorCode::invalid_argument);
  for (const std::string& known : preset_names()) CHECK(contains(name.message(), known));
  for (const int devices : {-1, 0, 65}) {
    const Error size = error_of([&] { (void)preset("hgx-h200", devices); });
    CHECK(size.code() == ErrorCode::invalid_argument);
    CHECK(contains(size.message(), "1 to 64 devices, not " + std::to_string(devices)));
  }
}
