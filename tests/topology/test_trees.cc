// Trees and groups of topologies.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/topology/machines.h"
#include "topology/search.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;
using Sets = std::vector<std::vector<int>>;

Graph random_mesh(std::mt19937& random, int n) {
  Graph g;
  for (int i = 0; i < n; ++i) add(g, VertexKind::gpu, weft::concat("g", i));
  for (int a = 0; a < n; ++a) {
    for (int b = a + 1; b < n; ++b) {
      if (random() % 3 == 0) continue;
      join(g, a, b, WireKind::nvlink, 1, 1e9 * double(1 + random() % 5), 1e-6);
    }
  }
  return g;
}

// Whether links of that rate and more join everything: by closure.
bool joined_at(const Topology& t, double rate) {
  const int n = t.size();
  std::vector<std::vector<bool>> reach(static_cast<std::size_t>(n),
                                       std::vector<bool>(static_cast<std::size_t>(n)));
  const auto cell = [&](int a, int b) {
    return reach[static_cast<std::size_t>(a)][static_cast<std::size_t>(b)];
  };
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < n; ++b) cell(a, b) = a == b || t.link(a, b).bytes_per_second >= rate;
  }
  for (int k = 0; k < n; ++k) {
    for (int a = 0; a < n; ++a) {
      for (int b = 0; b < n; ++b) cell(a, b) = cell(a, b) || (cell(a, k) && cell(k, b));
    }
  }
  return std::all_of(reach[0].begin(), reach[0].end(), [](bool r) { return r; });
}

bool is_tree(const Tree& tree, int n, int children) {
  std::vector<int> count(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    int at = i, steps = 0;
    while (at != tree.root && steps++ < n) at = tree.parents[static_cast<std::size_t>(at)];
    if (at != tree.root) return false;
    const int parent = tree.parents[static_cast<std::size_t>(i)];
    if (parent >= 0) ++count[static_cast<std::size_t>(parent)];
  }
  return tree.parents[static_cast<std::size_t>(tree.root)] == -1 &&
         (children == 0 || *std::max_element(count.begin(), count.end()) <= children);
}

std::vector<int> all_of(const Topology& t) {
  std::vector<int> devices(static_cast<std::size_t>(t.size()));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}

}  // namespace

TEST_CASE("a tree of any shape has the greatest slowest link there can be, on 2000 machines") {
  std::mt19937 random(21);
  int trees_found = 0;
  for (int i = 0; i < 2000; ++i) {
    const int n = 2 + i % 8;
    CAPTURE(i);
    const Topology t = Topology::from_graph("random", random_mesh(random, n));
    double best = 0;
    for (double rate = 1e9; rate <= 5e9; rate += 1e9) {
      if (joined_at(t, rate)) best = rate;
    }
    const std::vector<Tree> trees = find_trees(t, 1, 0);
    REQUIRE(trees.size() == (best > 0 ? 1u : 0u));
    if (trees.empty()) continue;
    ++trees_found;
    CHECK(is_tree(trees[0], n, 0));
    CHECK(*trees[0].bytes_per_second == best);
    CHECK(trees[0].proven);
    for (const Tree& binary : find_trees(t, 2, 2)) {
      CHECK(is_tree(binary, n, 2));
      CHECK(*binary.bytes_per_second <= best);
      CHECK(binary.proven == (*binary.bytes_per_second == best));
    }
  }
  CHECK(trees_found > 1000);
}

TEST_CASE("binary trees of a switched machine fill level after level and share no pair") {
  const Topology t = preset("hgx-h200", 8);
  const std::vector<Tree> trees = find_trees(t, 2, 2);
  REQUIRE(trees.size() == 2);
  CHECK(trees[0].parents == std::vector<int>{-1, 0, 0, 1, 1, 2, 2, 3});
  CHECK(trees[0].proven);
  CHECK(is_tree(trees[1], 8, 2));
  std::set<std::pair<int, int>> pairs;
  int inside_of_both = 0;
  for (int i = 0; i < 8; ++i) {
    bool inside[2] = {false, false};
    for (int k = 0; k < 2; ++k) {
      const auto& parents = trees[static_cast<std::size_t>(k)].parents;
      const int parent = parents[static_cast<std::size_t>(i)];
      if (parent >= 0) pairs.insert(std::minmax(i, parent));
      inside[k] = std::find(parents.begin(), parents.end(), i) != parents.end();
    }
    inside_of_both += inside[0] && inside[1] ? 1 : 0;
  }
  CHECK(pairs.size() == 14);
  CHECK(inside_of_both <= 1);
}

TEST_CASE("trees of one device, of none, and of machines in pieces") {
  CHECK(find_trees(Topology("none", {}, {}), 1, 2).empty());
  const std::vector<Tree> one = find_trees(preset("hgx-h200", 1), 3, 2);
  REQUIRE(one.size() == 1);
  CHECK(one[0].parents == std::vector<int>{-1});
  Graph apart;
  add(apart, VertexKind::gpu, "a");
  add(apart, VertexKind::gpu, "b");
  CHECK(find_trees(Topology::from_graph("apart", apart), 1, 0).empty());
}

TEST_CASE("a tree of a cluster enters each machine once") {
  const Topology t = preset_cluster("dgx-h100", 3);
  const std::vector<Tree> trees = find_trees(t, 1, 2);
  REQUIRE(trees.size() == 1);
  CHECK(is_tree(trees[0], 24, 2));
  CHECK(*trees[0].bytes_per_second == 50e9);
  int between = 0;
  for (int i = 1; i < 24; ++i) {
    between += t.cell(i, trees[0].parents[static_cast<std::size_t>(i)]) == "NET" ? 1 : 0;
  }
  CHECK(between == 2);
}

TEST_CASE("groups are what the fastest links join") {
  const auto groups = [](const Topology& t) { return find_groups(t, all_of(t)); };
  CHECK(groups(preset("pcie-4", 4)) == Sets{{0, 1}, {2, 3}});
  CHECK(groups(preset("dual-socket-8-pcie", 8)) == Sets{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
  CHECK(groups(preset("hgx-h200", 4)) == Sets{{0, 1, 2, 3}});
  const Sets domains = groups(preset_cluster("gb200-nvl72", 8));
  REQUIRE(domains.size() == 8);
  CHECK(domains[3].front() == 3 * 72);
  CHECK(domains[3].size() == 72);
  CHECK(find_groups(preset("pcie-4", 4), std::vector<int>{3, 0, 1}) == Sets{{3}, {0, 1}});
}

TEST_CASE("measured rates that differ a little make no groups of their own") {
  const Topology nominal = preset("dual-socket-8-pcie", 8);
  std::vector<Measurement> measured;
  for (int a = 0; a < 8; ++a) {
    for (int b = 0; b < 8; ++b) {
      if (a == b) continue;
      const double noise = 1 + 0.004 * ((a * 5 + b * 3) % 7);
      measured.push_back({a, b, "bandwidth", "copy_engine", true, 1 << 26,
                          *nominal.link(a, b).bytes_per_second * noise, 0, 3});
    }
  }
  const Topology t = nominal.with_measurements(measured);
  CHECK(find_groups(t, all_of(t)) == Sets{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
}
