// Rings: against every order there is, on presets, and at sizes where not all can be tried.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/topology/machines.h"
#include "topology/search.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;
using Order = std::vector<int>;

// Random links of few different figures, so that there are ties; some are missing, directions
// differ in half of them.
Topology random_machine(std::mt19937& random, int n) {
  const auto draw = [&](int below) { return static_cast<int>(random() % unsigned(below)); };
  const bool alike = draw(2) == 0;
  const int missing = draw(4);
  std::vector<Node> nodes;
  std::vector<Link> links(static_cast<std::size_t>(n * n));
  for (int a = 0; a < n; ++a) {
    nodes.push_back({{weft::DeviceKind::sim, weft::DeviceOrdinal(a)}, "random", {}, {}});
    for (int b = 0; b < n; ++b) {
      Link& link = links[static_cast<std::size_t>(a * n + b)];
      if (alike && b < a) {
        link = links[static_cast<std::size_t>(b * n + a)];
      } else if (a == b) {
        link.kind = PathKind::self;
      } else if (draw(10) >= missing) {
        link = {PathKind::nvlink, 1, true, 1e9 * (1 + draw(4)), 1e-6 * (1 + draw(3))};
      }
    }
  }
  return Topology("random", std::move(nodes), std::move(links));
}

struct Value {
  double rate = 0;
  std::int64_t picoseconds = 0;
};

// Of the pairs that `taken` leaves; rate 0 if the order is no ring.
Value value_of(const Topology& t, const Order& order, const std::set<std::pair<int, int>>& taken) {
  Value value{1e300, 0};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const int a = order[i];
    const int b = order[(i + 1) % order.size()];
    const Link& link = t.link(a, b);
    if (!link.peer_access || taken.contains(std::minmax(a, b))) return {};
    value.rate = std::min(value.rate, *link.bytes_per_second);
    value.picoseconds += static_cast<std::int64_t>(*link.latency_seconds * 1e12 + 0.5);
  }
  return value;
}

// By trying every order; empty if there is none.
Order brute_force(const Topology& t, const std::set<std::pair<int, int>>& taken) {
  Order order(static_cast<std::size_t>(t.size()));
  std::iota(order.begin(), order.end(), 0);
  Order best;
  Value best_value;
  do {
    const Value value = value_of(t, order, taken);
    const auto key = [](const Value& v) { return std::pair(v.rate, -v.picoseconds); };
    if (value.rate <= 0 || (!best.empty() && key(value) <= key(best_value))) continue;
    best = order;
    best_value = value;
  } while (std::next_permutation(order.begin() + 1, order.end()));
  return best;
}

double seconds_of(const std::chrono::steady_clock::time_point& start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_ring(const Topology& t, const Ring& ring) {
  Order sorted = ring.devices;
  std::sort(sorted.begin(), sorted.end());
  Order all(static_cast<std::size_t>(t.size()));
  std::iota(all.begin(), all.end(), 0);
  return sorted == all && ring.devices.front() == 0;
}

bool share_a_pair(const std::vector<Ring>& rings) {
  std::set<std::pair<int, int>> seen;
  std::size_t count = 0;
  for (const Ring& ring : rings) {
    for (std::size_t i = 0; i < ring.devices.size(); ++i, ++count) {
      seen.insert(std::minmax(ring.devices[i], ring.devices[(i + 1) % ring.devices.size()]));
    }
  }
  return seen.size() != count;
}

}  // namespace

TEST_CASE("rings of 2000 random machines are those that trying every order finds") {
  std::mt19937 random(20);
  int with_ring = 0, without = 0, several = 0;
  for (int i = 0; i < 2000; ++i) {
    const int n = i % 40 == 0 ? 9 : 3 + i % 5;
    CAPTURE(i);
    const Topology t = random_machine(random, n);
    const std::vector<Ring> rings = find_rings(t, 3);
    std::set<std::pair<int, int>> taken;
    for (std::size_t r = 0; r < 3; ++r) {
      const Order expected = brute_force(t, taken);
      REQUIRE(expected.empty() == (rings.size() <= r));
      ++(expected.empty() ? without : with_ring);
      if (expected.empty()) break;
      several += r > 0 ? 1 : 0;
      CHECK(rings[r].devices == expected);
      const Value value = value_of(t, expected, taken);
      CHECK(*rings[r].bytes_per_second == value.rate);
      CHECK(rings[r].latency_seconds == doctest::Approx(double(value.picoseconds) * 1e-12));
      CHECK(rings[r].proven);
      const auto [from, to] = rings[r].bottleneck;
      CHECK(*t.link(from, to).bytes_per_second == value.rate);
      for (std::size_t k = 0; k < expected.size(); ++k) {
        taken.insert(std::minmax(expected[k], expected[(k + 1) % expected.size()]));
      }
    }
  }
  CHECK(with_ring > 1500);
  CHECK(without > 500);
  CHECK(several > 100);
}

TEST_CASE("a DGX-1V has a ring over double NVLinks alone, and a second over NVLink") {
  const Topology machine = preset("dgx-1v", 8);
  const std::vector<Ring> rings = find_rings(machine, 8);
  REQUIRE(rings.size() >= 2);
  CHECK(rings[0].devices == Order{0, 3, 2, 1, 5, 6, 7, 4});
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(machine.cell(rings[0].devices[i], rings[0].devices[(i + 1) % 8]) == "NV2");
  }
  CHECK(*rings[0].bytes_per_second == doctest::Approx(47.9e9));
  CHECK(*rings[1].bytes_per_second < *rings[0].bytes_per_second);
  CHECK(!share_a_pair(rings));
}

TEST_CASE("the ring of every preset is the one a person would choose") {
  for (const std::string& name : preset_names()) {
    CAPTURE(name);
    const Topology machine = preset(name, preset_size(name));
    const std::vector<Ring> rings = find_rings(machine, 1);
    REQUIRE(rings.size() == 1);
    CHECK(rings[0].proven);
    if (name == "dgx-1v") continue;
    Order in_order(static_cast<std::size_t>(machine.size()));
    std::iota(in_order.begin(), in_order.end(), 0);
    CHECK(rings[0].devices == in_order);
  }
}

TEST_CASE("a ring leaves a socket as seldom as it can") {
  // Devices are numbered across the sockets: 0, 2, 4, 6 and 1, 3, 5, 7.
  Graph g = preset_graph("dual-socket-8-pcie");
  std::vector<Vertex> gpus(g.vertices.begin(), g.vertices.begin() + 8);
  for (int i = 0; i < 8; ++i) {
    const int place = i % 2 * 4 + i / 2;
    g.vertices[static_cast<std::size_t>(i)] = gpus[static_cast<std::size_t>(place)];
    for (Wire& wire : g.wires) {
      if (wire.a == place) wire.a = 100 + i;
    }
  }
  for (Wire& wire : g.wires) wire.a -= wire.a >= 100 ? 100 : 0;
  const Topology t = Topology::from_graph("shuffled", g);
  REQUIRE(t.cell(0, 2) == "PIX");
  REQUIRE(t.cell(0, 1) == "SYS");
  const Order ring = find_rings(t, 1)[0].devices;
  int across = 0, below = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    across += t.cell(ring[i], ring[(i + 1) % 8]) == "SYS" ? 1 : 0;
    below += t.cell(ring[i], ring[(i + 1) % 8]) == "PIX" ? 1 : 0;
  }
  CHECK(across == 2);
  CHECK(below == 4);
}

TEST_CASE("one device is a ring, two are if they reach each other, none are none") {
  CHECK(find_rings(Topology("none", {}, {}), 2).empty());
  const std::vector<Ring> one = find_rings(preset("hgx-h200", 1), 5);
  REQUIRE(one.size() == 1);
  CHECK(one[0].devices == Order{0});
  CHECK(!one[0].bytes_per_second.has_value());
  const std::vector<Ring> two = find_rings(preset("hgx-h200", 2), 5);
  REQUIRE(two.size() == 1);
  CHECK(*two[0].bytes_per_second == 386e9);
  CHECK(find_rings(preset("hgx-h200", 8), 0).empty());
  Graph apart;
  add(apart, VertexKind::gpu, "a");
  add(apart, VertexKind::gpu, "b");
  CHECK(find_rings(Topology::from_graph("apart", apart), 1).empty());
}

TEST_CASE("a quarantined pair is in no ring") {
  const Topology whole = preset("hgx-h200", 4);
  std::vector<Node> nodes;
  for (int i = 0; i < 4; ++i) nodes.push_back(whole.node(i));
  std::vector<Link> links = whole.links();
  links[1].verified = links[4].verified = false;  // 0 and 1
  CHECK(find_rings(Topology("liar", nodes, links), 1)[0].devices == Order{0, 2, 1, 3});
}

TEST_CASE("where rates are not known the classes of paths decide") {
  Graph g = preset_graph("dgx-1v");
  for (Wire& wire : g.wires) wire.bytes_per_second.reset();
  const std::vector<Ring> rings = find_rings(Topology::from_graph("nominal", g), 1);
  REQUIRE(rings.size() == 1);
  CHECK(rings[0].devices == Order{0, 3, 2, 1, 5, 6, 7, 4});
  CHECK(!rings[0].bytes_per_second.has_value());
}

TEST_CASE("rings through a switch share its ports, rings over wires of their own do not") {
  const std::vector<Ring> switched = find_rings(preset("hgx-h200", 8), 3);
  REQUIRE(switched.size() == 3);
  for (const Ring& ring : switched) {
    CHECK(*ring.bytes_per_second == 386e9);
    CHECK(*ring.bytes_per_second_together == doctest::Approx(386e9 / 3));
  }
  CHECK(!share_a_pair(switched));
  Graph mesh;
  for (int i = 0; i < 5; ++i) add(mesh, VertexKind::gpu, weft::concat("g", i));
  for (int a = 0; a < 5; ++a) {
    for (int b = a + 1; b < 5; ++b) join(mesh, a, b, WireKind::nvlink, 1, 25e9, 1e-6);
  }
  const std::vector<Ring> direct = find_rings(Topology::from_graph("mesh", mesh), 5);
  REQUIRE(direct.size() == 2);
  for (const Ring& ring : direct) CHECK(*ring.bytes_per_second_together == 25e9);
}

TEST_CASE("72 and 576 devices have good rings, proven, in a second, the same each time") {
  for (const int machines : {1, 8}) {
    CAPTURE(machines);
    const auto start = std::chrono::steady_clock::now();
    const Topology t =
        machines == 1 ? preset("gb200-nvl72", 72) : preset_cluster("gb200-nvl72", machines);
    const double made = seconds_of(start);
    const std::vector<Ring> rings = find_rings(t, 1);
    const double found = seconds_of(start) - made;
    MESSAGE(t.name(), ": made in ", made, " s, ring in ", found, " s");
    REQUIRE(rings.size() == 1);
    CHECK(is_ring(t, rings[0]));
    CHECK(rings[0].proven);
    int between = 0;
    for (std::size_t i = 0; i < rings[0].devices.size(); ++i) {
      const int to = rings[0].devices[(i + 1) % rings[0].devices.size()];
      between += t.cell(rings[0].devices[i], to) == "NET" ? 1 : 0;
    }
    CHECK(between == (machines == 1 ? 0 : machines));
    CHECK(find_rings(t, 1)[0].devices == rings[0].devices);
    CHECK(made + found < 10);
  }
}

TEST_CASE("several rings of 72 devices share no pair") {
  const Topology t = preset("gb200-nvl72", 72);
  const std::vector<Ring> rings = find_rings(t, 8);
  CHECK(rings.size() == 8);
  for (const Ring& ring : rings) CHECK(is_ring(t, ring));
  CHECK(!share_a_pair(rings));
}

TEST_CASE("a sparse machine of many devices needs paths that turn round") {
  // A ladder whose rungs are nearest: what grows greedily goes up in zigzag and gets stuck.
  Graph g;
  constexpr int kRungs = 12;
  for (int i = 0; i < 2 * kRungs; ++i) add(g, VertexKind::gpu, weft::concat("g", i));
  for (int i = 0; i < kRungs; ++i) {
    join(g, i, i + kRungs, WireKind::nvlink, 1, 25e9, 1e-6);
    if (i + 1 == kRungs) continue;
    join(g, i, i + 1, WireKind::nvlink, 1, 25e9, 2e-6);
    join(g, i + kRungs, i + 1 + kRungs, WireKind::nvlink, 1, 25e9, 2e-6);
  }
  const Topology t = Topology::from_graph("ladder", g);
  const std::vector<Ring> rings = find_rings(t, 1);
  REQUIRE(rings.size() == 1);
  CHECK(is_ring(t, rings[0]));
  CHECK(rings[0].proven);
}
