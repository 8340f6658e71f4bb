// The classes and figures of links, from graphs.
#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/topology/machines.h"
#include "topology/paths.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;

Topology machine(const Graph& graph) { return Topology::from_graph("test", graph); }

// `gpus` GPUs, each with `links` wires of one NVLink of 25 GB/s into switch 0, 1, ...
Graph switched(int gpus, int links) {
  Graph g;
  std::vector<int> switches;
  for (int i = 0; i < links; ++i) {
    switches.push_back(add(g, VertexKind::nvswitch, weft::concat("s", i)));
  }
  for (int i = 0; i < gpus; ++i) {
    const int gpu = add(g, VertexKind::gpu, weft::concat("g", i));
    for (const int to : switches) join(g, gpu, to, WireKind::nvlink, 1, 25e9, 4e-7);
  }
  return g;
}

}  // namespace

TEST_CASE("PCIe paths have the classes of nvidia-smi") {
  const Topology t = machine(pcie_tree());
  CHECK(t.matrix()[0] == std::vector<std::string>{"X", "PIX", "PXB", "PXB", "NODE", "SYS", "SYS",
                                                  "SYS", "SYS", "SYS"});
  CHECK(t.matrix()[3] == std::vector<std::string>{"PXB", "PXB", "PIX", "X", "NODE", "SYS", "SYS",
                                                  "SYS", "SYS", "SYS"});
  CHECK(t.simulated());
  CHECK(t.node(4).device.str() == "sim:4");
  CHECK(t.node(4).name == "gpu4");
}

TEST_CASE("a path has the rate of its narrowest wire and the latencies of all") {
  const Topology t = machine(pcie_tree());
  CHECK(*t.link(0, 1).bytes_per_second == 25e9);
  CHECK(*t.link(0, 1).latency_seconds == doctest::Approx(1e-6));
  CHECK(*t.link(0, 2).bytes_per_second == 20e9);
  CHECK(*t.link(0, 2).latency_seconds == doctest::Approx(1.1e-6));
  CHECK(*t.link(9, 0).bytes_per_second == 15e9);
  CHECK(*t.link(9, 0).latency_seconds == doctest::Approx(1.6e-6));
  CHECK(t.link(0, 1).via == Via::through_switch);
  CHECK(!t.link(0, 4).via.has_value());
  CHECK(t.link(0, 4).peer_access);
  CHECK(t.link(0, 4).reason.empty());
}

TEST_CASE("GPUs below one bridge, or right on one cpu, are PHB") {
  for (const VertexKind root : {VertexKind::host_bridge, VertexKind::cpu}) {
    Graph g;
    const int top = add(g, root, "top");
    for (const char* id : {"a", "b"}) {
      const int bridge = add(g, VertexKind::pcie_switch, std::string("below ") + id);
      join(g, bridge, top, WireKind::pcie, 1, 25e9, 1e-7);
      join(g, add(g, VertexKind::gpu, id), bridge, WireKind::pcie, 1, 25e9, 1e-7);
    }
    CHECK(machine(g).cell(0, 1) == "PHB");
  }
}

TEST_CASE("direct NVLinks add up, and a third GPU is no way") {
  Graph g = pcie_tree();
  const std::vector<int> gpus = g.gpus();
  join(g, gpus[0], gpus[5], WireKind::nvlink, 2, 50e9, 8e-7);
  join(g, gpus[5], gpus[0], WireKind::nvlink, 1, 25e9, 7e-7);
  join(g, gpus[5], gpus[9], WireKind::nvlink, 4, 100e9, 7e-7);
  const Topology t = machine(g);
  CHECK(t.cell(0, 5) == "NV3");
  CHECK(t.cell(5, 0) == "NV3");
  CHECK(*t.link(0, 5).bytes_per_second == 75e9);
  CHECK(*t.link(0, 5).latency_seconds == 7e-7);
  CHECK(t.link(0, 5).via == Via::direct);
  CHECK(t.cell(0, 9) == "SYS");
  CHECK(t.cell(5, 9) == "NV4");
}

TEST_CASE("through NVSwitches a pair has the links of the one with fewer") {
  Graph g = switched(4, 6);
  g.wires.pop_back();  // of g3
  const Topology t = machine(g);
  CHECK(t.cell(0, 1) == "NV6");
  CHECK(*t.link(0, 1).bytes_per_second == 150e9);
  CHECK(*t.link(0, 1).latency_seconds == 8e-7);
  CHECK(t.link(0, 1).via == Via::through_switch);
  CHECK(t.cell(0, 3) == "NV5");
  CHECK(*t.link(3, 0).bytes_per_second == 125e9);
}

TEST_CASE("several NVSwitches in a row are one fabric, as narrow as what joins them") {
  Graph g;
  const int near = add(g, VertexKind::nvswitch, "near");
  const int middle = add(g, VertexKind::nvswitch, "middle");
  const int far = add(g, VertexKind::nvswitch, "far");
  join(g, add(g, VertexKind::gpu, "a"), near, WireKind::nvlink, 6, 150e9, 1e-7);
  join(g, add(g, VertexKind::gpu, "b"), near, WireKind::nvlink, 6, 150e9, 1e-7);
  join(g, add(g, VertexKind::gpu, "c"), far, WireKind::nvlink, 4, 100e9, 1e-7);
  join(g, near, middle, WireKind::nvlink, 2, 50e9, 2e-7);
  join(g, middle, far, WireKind::nvlink, 8, 200e9, 2e-7);
  const Topology t = machine(g);
  CHECK(t.cell(0, 1) == "NV6");
  CHECK(t.cell(0, 2) == "NV4");
  CHECK(*t.link(0, 1).bytes_per_second == 150e9);
  CHECK(*t.link(0, 2).bytes_per_second == 50e9);
  CHECK(*t.link(2, 0).latency_seconds == doctest::Approx(6e-7));
}

TEST_CASE("xGMI and C2C have classes of their own") {
  Graph g = pcie_tree();
  const std::vector<int> gpus = g.gpus();
  join(g, gpus[0], gpus[9], WireKind::xgmi, 2, 100e9, 7e-7);
  join(g, gpus[1], gpus[8], WireKind::c2c, 10, 450e9, 7e-7);
  const int cpu = add(g, VertexKind::cpu, "grace");
  for (const char* id : {"x", "y"}) {
    join(g, add(g, VertexKind::gpu, id), cpu, WireKind::c2c, 1, 450e9, 4e-7);
  }
  const Topology t = machine(g);
  CHECK(t.cell(0, 9) == "XGMI2");
  CHECK(t.cell(1, 8) == "C2C");
  CHECK(t.link(1, 8).via == Via::direct);
  CHECK(t.cell(10, 11) == "C2C");
  CHECK(*t.link(10, 11).latency_seconds == doctest::Approx(8e-7));
  CHECK(!t.link(10, 11).via.has_value());
}

TEST_CASE("machines are joined by the network, from NIC to NIC") {
  Graph g;
  std::vector<int> nics;
  for (const char* mark : {"0", "1"}) {
    const int cpu = add(g, VertexKind::cpu, std::string("cpu") + mark);
    join(g, add(g, VertexKind::gpu, std::string("gpu") + mark), cpu, WireKind::pcie, 1, 25e9, 5e-7);
    nics.push_back(add(g, VertexKind::nic, std::string("nic") + mark));
    join(g, cpu, nics.back(), WireKind::pcie, 1, 25e9, 5e-7);
  }
  CHECK(machine(g).cell(0, 1) == "?");
  CHECK(machine(g).link(0, 1).reason == "the graph has no way between them");
  CHECK(!machine(g).link(0, 1).peer_access);
  const int rail = add(g, VertexKind::network_switch, "rail");
  for (const int nic : nics) join(g, nic, rail, WireKind::network, 1, 12.5e9, 1e-6);
  CHECK(machine(g).cell(0, 1) == "NET");
  CHECK(*machine(g).link(1, 0).bytes_per_second == 12.5e9);
  CHECK(!machine(g).link(1, 0).peer_access);
}

TEST_CASE("a NIC is no switch of its machine") {
  Graph g;
  const int nic = add(g, VertexKind::nic, "nic");
  for (const char* id : {"a", "b"}) {
    join(g, add(g, VertexKind::gpu, id), nic, WireKind::pcie, 1, 25e9, 5e-7);
  }
  CHECK(machine(g).cell(0, 1) == "?");
}

TEST_CASE("what a wire does not say is not known of the path, and the reason says so") {
  Graph g = pcie_tree();
  g.wires[1].latency_seconds.reset();       // the first socket's second bridge
  g.wires.back().bytes_per_second.reset();  // between the sockets
  const Topology t = machine(g);
  CHECK(t.link(0, 1).reason.empty());
  CHECK(*t.link(0, 4).bytes_per_second == 25e9);
  CHECK(!t.link(0, 4).latency_seconds.has_value());
  CHECK(t.link(0, 4).reason == "the latency of a wire on the way is not known");
  CHECK(!t.link(0, 5).bytes_per_second.has_value());
  CHECK(t.link(0, 5).reason == "the rate of a wire on the way is not known");
  CHECK(t.link(4, 5).reason == "the rate and the latency of a wire on the way are not known");
}

TEST_CASE("of ways with as few wires the widest is taken") {
  Graph g;
  const int a = add(g, VertexKind::gpu, "a");
  const int b = add(g, VertexKind::gpu, "b");
  for (const double rate : {8e9, 16e9, 12e9}) {
    const int through = add(g, VertexKind::pcie_switch, weft::concat("s", rate));
    join(g, a, through, WireKind::pcie, 1, 25e9, 1e-7);
    join(g, through, b, WireKind::pcie, 1, rate, 1e-7);
  }
  CHECK(*machine(g).link(0, 1).bytes_per_second == 16e9);
  CHECK(*machine(g).link(1, 0).bytes_per_second == 16e9);
}

TEST_CASE("a graph with cycles and as many GPUs and wires as there may be takes a moment only") {
  Graph g;
  for (int i = 0; i < kMaxDevices; ++i) add(g, VertexKind::gpu, weft::concat("g", i));
  for (int i = 0; i < 1024; ++i) {
    const int hub =
        add(g, i % 2 == 0 ? VertexKind::pcie_switch : VertexKind::nvswitch, weft::concat("s", i));
    const WireKind kind = i % 2 == 0 ? WireKind::pcie : WireKind::nvlink;
    for (int k = 1; k < 40; k += 2) {
      if (i >= 40) join(g, hub, hub - k - (k + 1) % 2 - 1, kind, 1, 1e9 * (k + 1), 1e-7);
    }
    join(g, i, hub, WireKind::pcie, 1, 25e9, 1e-7);
  }
  const auto start = std::chrono::steady_clock::now();
  CHECK(find_paths(g).size() == static_cast<std::size_t>(kMaxDevices * kMaxDevices));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}
