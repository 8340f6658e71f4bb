// Verifying pairs: honest devices pass, one that lies is found out, whichever way the lie takes.
#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/device/fault/fault_device.h"
#include "core/device/sim/sim_device.h"
#include "topology/probe/verify.h"

namespace {

using namespace weft;
using namespace weft::topology;

// sim:40, sim:41, ... each behind a fault device.
struct Machine {
  explicit Machine(int count) {
    for (int i = 0; i < count; ++i) {
      faults.push_back(
          std::make_unique<FaultDevice>(device({DeviceKind::sim, DeviceOrdinal(40 + i)})));
      devices.push_back(faults.back().get());
    }
  }
  std::vector<PairCheck> verify(double seconds = 5.0) { return verify_pairs(devices, seconds); }

  std::vector<std::unique_ptr<FaultDevice>> faults;
  std::vector<Device*> devices;
};

DeviceId sim(int ordinal) { return {DeviceKind::sim, DeviceOrdinal(ordinal)}; }

}  // namespace

TEST_CASE("devices that tell the truth are verified, each pair in both directions") {
  const std::int64_t before = SimDevice::live_handles();
  for (const PairCheck& check : Machine(4).verify()) {
    CHECK(check.verified == true);
    CHECK(check.reason.empty());
  }
  CHECK(SimDevice::live_handles() == before);
}

TEST_CASE("a pair that lies is found out by what it lies about, and no other is") {
  struct Case {
    DeviceCall call;
    const char* says;
  };
  for (const Case& lie : {Case{DeviceCall::submit, "kernel store: 65536 of 65536 bytes"},
                          Case{DeviceCall::copy, "copy engine: 65536 of 65536 bytes"}}) {
    CAPTURE(lie.says);
    Machine machine(3);
    machine.faults[2]->lie_about(sim(40), lie.call);
    const std::vector<PairCheck> checks = machine.verify();
    for (std::size_t i = 0; i < 9; ++i) {
      CAPTURE(i);
      CHECK(checks[i].verified == (i != 6));
    }
    CHECK(checks[6].reason.starts_with(lie.says));
    CHECK(checks[6].reason.ends_with("the first at 0"));
  }
}

TEST_CASE("a pair that fails or does not end has the reason, and nothing is left behind") {
  const std::int64_t before = SimDevice::live_handles();
  {
    Machine machine(2);
    machine.faults[0]->plan(DeviceCall::enable_peer, 1, {ErrorCode::peer_access, 0});
    const std::vector<PairCheck> checks = machine.verify();
    CHECK(checks[1].verified == false);
    CHECK(checks[1].reason.find("enable_peer failed") != std::string::npos);
    CHECK(checks[2].verified == true);
  }
  {
    Machine machine(2);
    machine.faults[1]->plan(DeviceCall::allocate, 2, {ErrorCode::out_of_memory, 0});
    const std::vector<PairCheck> checks = machine.verify();
    CHECK_FALSE(checks[1].verified.has_value());
    CHECK(checks[1].reason.starts_with("not tried: "));
    CHECK(checks[3].verified == true);
  }
  {
    Machine machine(2);
    machine.faults[0]->plan(DeviceCall::synchronize, 3, {ErrorCode::device_lost, 0});
    CHECK(machine.verify()[1].verified == false);
  }
  CHECK(SimDevice::live_handles() == before);
}

TEST_CASE("a wait that does not end in time is a pair that is not verified") {
  Machine machine(2);
  const PairCheck late = machine.verify(0.0)[1];
  CHECK(late.verified == false);
  CHECK(late.reason.find("did not end in time") != std::string::npos);
}

TEST_CASE("patterns depend on the pair, the direction, the way and the place") {
  std::set<std::uint32_t> words;
  std::size_t expected = 0;
  for (int from = 0; from < 8; ++from) {
    for (int to = 0; to < 8; ++to) {
      for (const Way way : {Way::store, Way::load, Way::copy_engine}) {
        for (std::uint32_t i = 0; i < 16; ++i, ++expected) {
          words.insert(pattern_word(from, to, way, i));
        }
      }
    }
  }
  CHECK(words.size() == expected);
}
