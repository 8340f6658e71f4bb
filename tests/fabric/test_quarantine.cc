// A pair whose bytes did not arrive has no part in a fabric.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/device/sim/sim_device.h"
#include "fabric/fabric.h"

namespace weft::fabric {
namespace {

// Three simulated devices; of the second and third it was found out that they lie.
topology::Topology sick_machine() {
  const topology::Topology known = topology::preset("hgx-h200", 3);
  std::vector<topology::Node> nodes;
  std::vector<topology::Link> links = known.links();
  for (int i = 0; i < 3; ++i) nodes.push_back(known.node(i));
  for (const auto& [from, to] : {std::pair(1, 2), std::pair(2, 1)}) {
    topology::Link& link = links[static_cast<std::size_t>(from * 3 + to)];
    link.verified = false;
    link.peer_access = false;
    link.reason = "quarantined: 4 of 65536 bytes did not arrive";
  }
  return topology::Topology("sick", nodes, links);
}

FabricOptions options(const std::vector<int>& devices) {
  FabricOptions result;
  for (const int ordinal : devices) {
    result.devices.push_back(&weft::device({DeviceKind::sim, DeviceOrdinal(ordinal)}));
  }
  result.topology = sick_machine();
  result.scratch = Bytes(1 << 20);
  return result;
}

}  // namespace

TEST_CASE("a quarantined pair is refused with what was found, other devices are not") {
  const std::int64_t handles = SimDevice::live_handles();
  try {
    Fabric::open(options({0, 1, 2}));
    FAIL("a fabric was opened over a pair that lies");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::topology);
    CHECK(error.message() ==
          "peer access between sim:1 and sim:2 is quarantined: 4 of 65536 bytes did not arrive");
    CHECK(error.context().device == "sim:1");
  }
  CHECK(SimDevice::live_handles() == handles);
  Fabric::open(options({0, 1}))->close();
  Fabric::open(options({0, 2, 2}))->close();
}

}  // namespace weft::fabric
