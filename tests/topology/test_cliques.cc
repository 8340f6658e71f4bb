// Cliques of topologies.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/topology/machines.h"
#include "topology/search.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;
using Sets = std::vector<std::vector<int>>;

Graph gpus(int count) {
  Graph g;
  for (int i = 0; i < count; ++i) add(g, VertexKind::gpu, weft::concat("g", i));
  return g;
}

Sets cliques(const Graph& g) {
  const Cliques found = find_cliques(Topology::from_graph("test", g));
  CHECK(found.complete);
  return found.cliques;
}

}  // namespace

TEST_CASE("a chain of NVLinks is no clique, its pairs are") {
  Graph g = gpus(4);
  for (const int i : {0, 1}) join(g, i, i + 1, WireKind::nvlink, 1, 25e9, 1e-6);
  CHECK(cliques(g) == Sets{{0, 1}, {1, 2}, {3}});
}

TEST_CASE("devices in several cliques are in each of them") {
  Graph g = gpus(4);
  for (const auto& [a, b] :
       std::vector<std::pair<int, int>>{{0, 1}, {0, 2}, {1, 2}, {1, 3}, {2, 3}}) {
    join(g, a, b, WireKind::nvlink, 1, 25e9, 1e-6);
  }
  CHECK(cliques(g) == Sets{{0, 1, 2}, {1, 2, 3}});
}

TEST_CASE("without NVLink the nearest PCIe paths make cliques") {
  CHECK(cliques(pcie_tree()) == Sets{{0, 1}, {2, 3}, {4}, {5, 6}, {7, 8}, {9}});
}

TEST_CASE("a quarantined pair is in no clique, nor one without peer access one way") {
  Graph g = gpus(3);
  const int hub = add(g, VertexKind::nvswitch, "s");
  for (int i = 0; i < 3; ++i) join(g, i, hub, WireKind::nvlink, 1, 25e9, 1e-6);
  const Topology whole = Topology::from_graph("test", g);
  CHECK(find_cliques(whole).cliques == Sets{{0, 1, 2}});
  std::vector<Node> nodes = {whole.node(0), whole.node(1), whole.node(2)};
  std::vector<Link> links = whole.links();
  links[1].verified = false;  // 0 to 1
  CHECK(find_cliques(Topology("liar", nodes, links)).cliques == Sets{{0, 2}, {1, 2}});
  links[1].verified = true;
  links[1].peer_access = false;
  CHECK(find_cliques(Topology("one way", nodes, links)).cliques == Sets{{0, 2}, {1, 2}});
}

TEST_CASE("no devices and one have none and one") {
  CHECK(cliques(Graph{}).empty());
  CHECK(cliques(gpus(1)) == Sets{{0}});
  CHECK(cliques(gpus(2)) == Sets{{0}, {1}});
}

TEST_CASE("of too many cliques there are some, every device in one, and it says so") {
  // All pairs but those of a third: 3^30 maximal cliques.
  Graph g = gpus(90);
  for (int a = 0; a < 90; ++a) {
    for (int b = a + 1; b < 90; ++b) {
      if (a / 3 != b / 3) join(g, a, b, WireKind::nvlink, 1, 25e9, 1e-6);
    }
  }
  const Cliques found = find_cliques(Topology::from_graph("test", g));
  CHECK(!found.complete);
  std::vector<bool> covered(90);
  for (const auto& clique : found.cliques) {
    CHECK(clique.size() == 30);
    for (const int one : clique) covered[static_cast<std::size_t>(one)] = true;
  }
  CHECK(covered == std::vector<bool>(90, true));
}

TEST_CASE("as many devices as there may be in one clique are found at once") {
  Graph g = gpus(kMaxDevices);
  const int hub = add(g, VertexKind::nvswitch, "s");
  for (int i = 0; i < kMaxDevices; ++i) join(g, i, hub, WireKind::nvlink, 1, 25e9, 1e-6);
  const Sets found = cliques(g);
  REQUIRE(found.size() == 1);
  CHECK(found[0].size() == static_cast<std::size_t>(kMaxDevices));
}
