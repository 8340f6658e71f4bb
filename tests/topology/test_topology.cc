// Topology values, presets and JSON.
#include <doctest/doctest.h>

#include <algorithm>
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
  const std::vector<std::pair<PathKind, std::string>> names = {{PathKind::pix, "PIX"},
                                                               {PathKind::pxb, "PXB"},
                                                               {PathKind::phb, "PHB"},
                                                               {PathKind::node, "NODE"},
                                                               {PathKind::sys, "SYS"}};
  for (const auto& [kind, name] : names) {
    Link link;
    link.kind = kind;
    CHECK(Topology("one", {sim_node(0, "a")}, {link}).cell(0, 0) == name);
  }
}

TEST_CASE("JSON escapes text, writes null for what is unknown, and the notes") {
  Topology topology = lopsided();
  topology.notes.push_back("numa: not known");
  const std::string json = topology.to_json();
  CHECK(contains(json, R"({"schema": "weft.topology/1", "name": "lopsided", "simulated": false)"));
  CHECK(contains(json, R"("name": "a \"quoted\"\u000a\\name", "numa": null, "pci": null)"));
  CHECK(contains(json, R"({"from": 0, "to": 1, "kind": "nvlink", "cell": "NV4", "count": 4, )"
                       R"("peer_access": true, "bytes_per_second": 1e+11, )"
                       R"("latency_seconds": 2e-06})"));
  CHECK(contains(json, R"("bytes_per_second": null, "latency_seconds": null})"));
  CHECK(contains(json, R"("matrix": [["X", "NV4"], ["?", "X"]])"));
  CHECK(contains(json, R"("notes": ["numa: not known"]})"));
}

TEST_CASE("JSON of one device and of none") {
  CHECK(contains(preset("hgx-h200", 1).to_json(), R"("links": [], "matrix": [["X"]])"));
  CHECK(contains(Topology("empty", {}, {}).to_json(), R"("devices": [], "links": [])"));
}

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
  CHECK(preset_names() ==
        std::vector<std::string>{"hgx-h200", "dgx-h100", "dgx-a100", "pcie-4", "pair-nvlink"});
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
  CHECK(preset("pcie-4", 4).matrix()[1] == std::vector<std::string>{"PIX", "X", "SYS", "SYS"});
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
