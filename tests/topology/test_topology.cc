// Topology values.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "topology/topology.h"

namespace {

using weft::Error;
using weft::ErrorCode;
using namespace weft::topology;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

template <class Call>
Error error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::internal, "nothing was thrown");
}

Node sim_node(int ordinal, const std::string& name) {
  return {weft::DeviceId{weft::DeviceKind::sim, weft::DeviceOrdinal(ordinal)}, name, {}, {}};
}

// Two devices with a fast way there and an unknown one back.
Topology lopsided() {
  Link self;
  self.kind = PathKind::self;
  Link there{PathKind::nvlink, 4, true, 100e9, 2e-6};
  Link back;
  return Topology("lopsided", {sim_node(0, "a \"quoted\"\n\\name"), sim_node(1, "b")},
                  {self, there, back, self});
}

}  // namespace

TEST_CASE("a topology needs one link for each ordered pair") {
  const Error error = error_of([] { Topology("odd", {sim_node(0, "a")}, {}); });
  CHECK(error.code() == ErrorCode::invalid_argument);
  CHECK(contains(error.message(), "odd has 0 links for 1 devices"));
}

TEST_CASE("a transfer takes latency plus bytes over rate") {
  const Topology topology = lopsided();
  CHECK(topology.transfer_seconds(0, 1, 0) == doctest::Approx(2e-6));
  CHECK(topology.transfer_seconds(0, 1, 100'000'000) == doctest::Approx(1e-3 + 2e-6));
}

TEST_CASE("a transfer over a link of unknown rate or to no device is an error that names it") {
  const Topology topology = lopsided();
  const Error unknown = error_of([&] { (void)topology.transfer_seconds(1, 0, 1); });
  CHECK(unknown.code() == ErrorCode::topology);
  CHECK(contains(unknown.message(), "from device 1 to 0 of topology lopsided"));
  const Error outside = error_of([&] { (void)topology.transfer_seconds(0, 2, 1); });
  CHECK(outside.code() == ErrorCode::invalid_argument);
  CHECK(contains(outside.message(), "from device 0 to 2"));
}

TEST_CASE("cells are named as in nvidia-smi") {
  Topology topology = lopsided();
  CHECK(topology.matrix() == std::vector<std::vector<std::string>>{{"X", "NV4"}, {"?", "X"}});
  const std::vector<std::pair<PathKind, std::string>> names = {
      {PathKind::pix, "PIX"},   {PathKind::pxb, "PXB"},    {PathKind::phb, "PHB"},
      {PathKind::node, "NODE"}, {PathKind::sys, "SYS"},    {PathKind::xgmi, "XGMI0"},
      {PathKind::c2c, "C2C"},   {PathKind::network, "NET"}};
  for (const auto& [kind, name] : names) {
    Link link;
    link.kind = kind;
    CHECK(Topology("one", {sim_node(0, "a")}, {link}).cell(0, 0) == name);
  }
}

TEST_CASE("a graph and its devices belong together") {
  Graph graph;
  graph.vertices.push_back({VertexKind::gpu, "a", "a"});
  const Error error = error_of([&] {
    Topology::of_graph("odd", {sim_node(0, "a"), sim_node(1, "b")}, std::vector<Link>(4), graph);
  });
  CHECK(error.code() == ErrorCode::topology);
  CHECK(contains(error.message(), "odd has 2 devices, and its graph has 1 GPUs"));
  graph.vertices[0].id.clear();
  CHECK(error_of([&] { Topology::from_graph("bad", graph); }).code() == ErrorCode::topology);
  CHECK(!lopsided().graph().has_value());
}

TEST_CASE(
    "measurements calibrate a copy: the best rate both ways, else one way, the least latency") {
  Link link{PathKind::nvlink, 4, true, 100e9, 2e-6};
  Link open{PathKind::nvlink, 4, true, {}, {}, {}, {}, "never measured"};
  const Topology nominal("pair", {sim_node(0, "a"), sim_node(1, "b")}, {{}, link, open, {}});
  const Topology measured = nominal.with_measurements({
      {0, 1, "bandwidth", "copy_engine", false, 1 << 20, 95e9, 1e9, 5},
      {0, 1, "bandwidth", "copy_engine", true, 1 << 20, 80e9, 1e9, 5},
      {0, 1, "bandwidth", "sm_push", true, 1 << 20, 85e9, 1e9, 5},
      {0, 1, "latency", "flag", false, 4, 3e-6, 0, 5},
      {0, 1, "latency", "flag", false, 4, 1e-6, 0, 5},
      {1, 0, "bandwidth", "sm_pull", false, 1 << 20, 70e9, 1e9, 5},
      {1, kHostMemory, "bandwidth", "copy_engine", false, 1 << 20, 20e9, 1e9, 5},
      {0, 1, "all_pairs", "copy_engine", true, 1 << 20, 10e9, 1e9, 5},
  });
  CHECK(*measured.link(0, 1).bytes_per_second == 85e9);
  CHECK(*measured.link(0, 1).latency_seconds == 1e-6);
  CHECK(*measured.link(1, 0).bytes_per_second == 70e9);
  CHECK(!measured.link(1, 0).latency_seconds.has_value());
  CHECK(measured.link(1, 0).reason == "never measured");
  CHECK(measured.measurements().size() == 8);
  CHECK(*nominal.link(0, 1).bytes_per_second == 100e9);
  CHECK(nominal.measurements().empty());
  CHECK(measured.with_measurements({{1, 0, "latency", "flag", false, 4, 2e-6, 0, 5}})
            .link(1, 0)
            .reason.empty());
}

TEST_CASE(
    "links have the rates of the engines asked for, in equal parts, where all were measured") {
  Link link{PathKind::nvlink, 4, true, 100e9, 2e-6};
  const Topology nominal("pair", {sim_node(0, "a"), sim_node(1, "b")}, {{}, link, link, {}});
  const Topology measured = nominal.with_measurements({
      {0, 1, "bandwidth", "copy_engine", true, 1 << 20, 90e9, 1e9, 5},
      {0, 1, "bandwidth", "sm_push", false, 1 << 20, 85e9, 1e9, 5},
      {0, 1, "bandwidth", "sm_push", true, 1 << 20, 80e9, 1e9, 5},
      {0, 1, "bandwidth", "sm_pull", true, 1 << 20, 60e9, 1e9, 5},
      {1, 0, "bandwidth", "sm_push", true, 1 << 20, 70e9, 1e9, 5},
      {1, kHostMemory, "bandwidth", "sm_pull", true, 1 << 20, 20e9, 1e9, 5},
  });
  const auto rate = [&](std::vector<std::string_view> engines, int from, int to) {
    return *measured.with_engines(engines).link(from, to).bytes_per_second;
  };
  CHECK(*measured.link(0, 1).bytes_per_second == 90e9);
  CHECK(rate({"sm_push"}, 0, 1) == doctest::Approx(80e9));
  CHECK(rate({"sm_pull", "sm_push"}, 0, 1) == doctest::Approx(2 / (1 / 60e9 + 1 / 80e9)));
  CHECK(rate({"sm_pull", "sm_push"}, 1, 0) == 70e9);  // the best of what was measured
  CHECK(rate({}, 0, 1) == 90e9);
  CHECK(
      *nominal.with_engines(std::vector<std::string_view>{"sm_push"}).link(0, 1).bytes_per_second ==
      100e9);
}

TEST_CASE("measurements that cannot be are TopologyError") {
  const Topology two = lopsided();
  for (const Measurement& bad :
       std::vector<Measurement>{{0, 2, "bandwidth", "sm_push", false, 1, 1e9, 0, 1},
                                {-2, 0, "bandwidth", "sm_push", false, 1, 1e9, 0, 1},
                                {0, 1, "bandwidth", "sm_push", false, 1, 0, 0, 1},
                                {0, 1, "bandwidth", "sm_push", false, 1, std::nan(""), 0, 1},
                                {0, 1, "bandwidth", "sm_push", false, 1, 1e9, -1, 1},
                                {0, 1, "bandwidth", "sm_push", false, -1, 1e9, 0, 1},
                                {0, 1, "bandwidth", "sm_push", false, 1, 1e9, 0, 0}}) {
    CHECK(error_of([&] { (void)two.with_measurements({bad}); }).code() == ErrorCode::topology);
  }
}

TEST_CASE("links follow from the graph until anything else is known of one") {
  CHECK(!lopsided().links_follow_from_graph());
  for (const std::string& name : preset_names()) {
    CHECK_MESSAGE(Topology::from_graph(name, preset_graph(name)).links_follow_from_graph(), name);
  }
  const Topology pair = Topology::from_graph("pair", preset_graph("pair-nvlink"));
  std::vector<Link> links = pair.links();
  links[1].verified = true;
  const Topology verified =
      Topology::of_graph("pair", {pair.node(0), pair.node(1)}, links, *pair.graph());
  CHECK(!verified.links_follow_from_graph());
  Measurement measured;
  measured.from = 0;
  measured.to = 1;
  measured.what = "bandwidth";
  measured.engine = "copy_engine";
  measured.median = 1e9;
  measured.samples = 1;
  CHECK(!pair.with_measurements({measured}).links_follow_from_graph());
}

TEST_CASE("paths have names, and names have paths") {
  for (const char* name : {"self", "nvlink", "pix", "pxb", "phb", "node", "sys", "unknown", "xgmi",
                           "c2c", "network"}) {
    CHECK(kind_name(*path_kind(name)) == name);
  }
  CHECK(!path_kind("NV4").has_value());
}
