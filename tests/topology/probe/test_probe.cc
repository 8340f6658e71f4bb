// This machine, whatever it has; what is guessed of pairs for a plan; what cannot be measured.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/core/expect_error.h"
#include "tests/topology/machines.h"
#include "topology/probe/probe.h"

namespace {

using namespace weft;
using namespace weft::topology;

bool any_note(const std::vector<std::string>& notes, const std::string& start) {
  return std::any_of(notes.begin(), notes.end(),
                     [&](const std::string& note) { return note.starts_with(start); });
}

void no_progress(double, const std::string&) {}

}  // namespace

TEST_CASE("probe() never throws, finds the CUDA devices there are, or says why there are none") {
  for (const bool verify : {false, true}) {
    const Topology found = probe({verify, {}});
    CHECK(!found.simulated());
    CHECK(found.size() == device_count(DeviceKind::cuda));
    CHECK((found.size() > 0 || any_note(found.notes, "devices: ")));
    CHECK(found.host.has_value());
  }
}

TEST_CASE("simulated devices are not measured, and nothing is where there is no device") {
  expect_error(ErrorCode::invalid_argument, [] { measure(preset("hgx-h200", 2), 0, no_progress); });
  const Topology empty("none", {}, {});
  CHECK(any_note(measure(empty, 0, no_progress).notes, "measure: there is no CUDA device"));
}

TEST_CASE("pairs of an NVSwitch share nothing, pairs over PCIe the wires between them") {
  const PlanInput switched = guess(preset("hgx-h200", 8));
  CHECK(plan_rounds(switched).size() == 7);
  CHECK(plan_measurement(switched, default_budget(8)).seconds < 20);

  const Topology tree = Topology::from_graph("tree", topology::testing::pcie_tree());
  const PlanInput input = guess(tree);
  const auto pair = [&](int a, int b) {
    return input.pairs[static_cast<std::size_t>(a * tree.size() + b)];
  };
  const auto share = [](const PairGuess& p, const PairGuess& q) {
    return std::any_of(p.shared.begin(), p.shared.end(), [&](int wire) {
      return std::find(q.shared.begin(), q.shared.end(), wire) != q.shared.end();
    });
  };
  CHECK_FALSE(share(pair(0, 1), pair(2, 3)));  // below two switches
  CHECK(share(pair(0, 2), pair(1, 3)));        // both between the two switches
  CHECK_FALSE(share(pair(0, 4), pair(5, 9)));  // on two sockets
  CHECK(share(pair(0, 5), pair(1, 6)));        // both between the sockets
}

TEST_CASE("pairs without peer access take turns, and the quarantined are left alone") {
  const Topology known = preset("hgx-h200", 4);
  std::vector<Node> nodes;
  std::vector<Link> links = known.links();
  for (int i = 0; i < 4; ++i) nodes.push_back(known.node(i));
  links[1].peer_access = false;
  links[2 * 4 + 3].verified = false;
  const PlanInput input = guess(Topology("sick", nodes, links));
  CHECK_FALSE(input.pairs[1].reachable);
  CHECK(input.pairs[1].bytes_per_second < input.pairs[2].bytes_per_second);
  CHECK_FALSE(input.pairs[1].shared.empty());
  CHECK_FALSE(input.pairs[2 * 4 + 3].usable);
  CHECK(input.pairs[2].usable);
}
