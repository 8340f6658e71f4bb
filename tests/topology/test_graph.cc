// Checks of the hardware graph.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "tests/topology/machines.h"
#include "topology/graph.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;

Graph pair() {
  Graph graph;
  const int a = add(graph, VertexKind::gpu, "a");
  const int b = add(graph, VertexKind::gpu, "b");
  join(graph, a, b, WireKind::nvlink, 2, 50e9, 1e-6);
  return graph;
}

// What validate() says of the pair, changed.
template <class Change>
std::string refusal(const Change& change) {
  Graph graph = pair();
  change(graph);
  const weft::Error error = error_of([&] { graph.validate(); });
  CHECK(error.code() == weft::ErrorCode::topology);
  return error.message();
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("kinds have names, and names have kinds") {
  for (const char* name :
       {"gpu", "nvswitch", "pcie_switch", "host_bridge", "cpu", "nic", "network_switch"}) {
    CHECK(kind_name(*vertex_kind(name)) == name);
  }
  for (const char* name : {"nvlink", "xgmi", "c2c", "pcie", "bus", "socket", "network"}) {
    CHECK(kind_name(*wire_kind(name)) == name);
  }
  CHECK(!vertex_kind("GPU").has_value());
  CHECK(!wire_kind("").has_value());
}

TEST_CASE("a graph that can be passes; its GPUs are in their order") {
  Graph graph = pcie_tree();
  CHECK_NOTHROW(graph.validate());
  CHECK(graph.gpus().size() == 10);
  CHECK(graph.vertices[static_cast<std::size_t>(graph.gpus()[9])].id == "gpu9");
  graph.wires[0].bytes_per_second.reset();
  graph.wires[0].latency_seconds = 0.0;
  CHECK_NOTHROW(graph.validate());
  CHECK_NOTHROW(Graph{}.validate());
}

TEST_CASE("a graph that cannot be says where and why") {
  CHECK(contains(refusal([](Graph& g) { g.vertices[1].id = g.vertices[0].id; }),
                 "vertices 0 and 1 have the same id \"a\""));
  CHECK(contains(refusal([](Graph& g) { g.vertices[1].id.clear(); }), "vertex 1 has no id"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].b = 2; }), "wire 0 ends at vertex 2"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].a = -1; }), "wire 0 ends at vertex -1"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].b = 0; }), "joins a vertex with itself"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].count = 0; }), "(a to b): its count"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].generation = 0; }), "generation"));
  CHECK(contains(refusal([](Graph& g) { g.wires[0].width = -4; }), "width"));
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const double rate : {kNan, kInf, -1.0, 0.0}) {
    CHECK(contains(refusal([&](Graph& g) { g.wires[0].bytes_per_second = rate; }),
                   "bytes_per_second must be finite and above 0"));
  }
  for (const double latency : {kNan, kInf, -1e-6}) {
    CHECK(contains(refusal([&](Graph& g) { g.wires[0].latency_seconds = latency; }),
                   "latency_seconds must be finite and not below 0"));
  }
}

TEST_CASE("a graph has so many vertices, wires and GPUs and no more") {
  CHECK(contains(refusal([](Graph& g) {
                   while (g.vertices.size() <= kMaxVertices) {
                     add(g, VertexKind::nic, weft::concat("n", g.vertices.size()));
                   }
                 }),
                 "4097 vertices; at most 4096"));
  CHECK(contains(refusal([](Graph& g) { g.wires.resize(kMaxWires + 1, g.wires[0]); }),
                 "65537 wires; at most 65536"));
  CHECK(contains(refusal([](Graph& g) {
                   while (g.vertices.size() <= kMaxDevices) {
                     add(g, VertexKind::gpu, weft::concat("g", g.vertices.size()));
                   }
                 }),
                 "1025 GPUs; at most 1024"));
  // Two GPUs take any number of wires; 1024 of them so many that walks from each take a second.
  const auto wired = [](int gpus, WireKind kind, std::size_t wires) {
    Graph graph;
    for (int i = 0; i < gpus; ++i) add(graph, VertexKind::gpu, weft::concat("g", i));
    graph.wires.assign(wires, Wire{0, 1, kind});
    return graph;
  };
  const std::size_t most = kMaxWalks / kMaxDevices;
  CHECK_NOTHROW(wired(kMaxDevices, WireKind::pcie, most).validate());
  CHECK(contains(refusal([&](Graph& g) { g = wired(kMaxDevices, WireKind::pcie, most + 1); }),
                 "1024 GPUs and 16385 wires of PCIe, cpus and networks; at most 16384"));
  CHECK_NOTHROW(wired(kMaxDevices, WireKind::nvlink, kMaxWires).validate());
  CHECK_NOTHROW(wired(2, WireKind::pcie, kMaxWires).validate());
}

TEST_CASE("a long id does not make a long message") {
  const std::string message =
      refusal([](Graph& g) { g.vertices[0].id = g.vertices[1].id = std::string(100'000, 'x'); });
  CHECK(message.size() < 200);
}
