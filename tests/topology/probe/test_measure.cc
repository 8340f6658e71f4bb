// Measuring, on simulated devices: figures for all that was planned, and nothing left behind
// however it ends.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/device/fault/fault_device.h"
#include "core/device/sim/sim_device.h"
#include "topology/probe/measure.h"

namespace {

using namespace weft;
using namespace weft::topology;

struct Machine {
  explicit Machine(int count) {
    for (int i = 0; i < count; ++i) {
      faults.push_back(
          std::make_unique<FaultDevice>(device({DeviceKind::sim, DeviceOrdinal(44 + i)})));
      devices.push_back(faults.back().get());
    }
    PlanInput input;
    input.devices = count;
    input.pairs.assign(static_cast<std::size_t>(count * count), {true, true, 10e9, 1e-6, {}});
    input.most_bytes = 64 << 10;
    plan = plan_measurement(input, 5);
  }
  Measured measure(const Progress& progress = [](double, const std::string&) {}) {
    return measure_devices(devices, plan, {5, 60}, progress);
  }

  std::vector<std::unique_ptr<FaultDevice>> faults;
  std::vector<Device*> devices;
  Plan plan;
};

}  // namespace

TEST_CASE("every planned transfer has a figure with its median, spread and samples") {
  const std::int64_t before = SimDevice::live_handles();
  Machine machine(3);
  const Measured measured = machine.measure();
  CHECK(measured.notes == machine.plan.notes);
  std::size_t planned = 0;
  for (const Trial& trial : machine.plan.trials) planned += trial.transfers.size();
  REQUIRE(measured.figures.size() == planned);
  for (const Measurement& figure : measured.figures) {
    CAPTURE(figure.what);
    CHECK(figure.median > 0);
    CHECK(figure.spread >= 0);
    CHECK(figure.samples >= 3);
    CHECK(figure.from != figure.to);
    CHECK((figure.engine == "flag") == (figure.what == "latency"));
    if (figure.engine == "flag") CHECK(figure.median < 1e-3);
  }
  CHECK(measured.seconds > 0);
  CHECK(SimDevice::live_handles() == before);
}

TEST_CASE("progress runs from 0 to 1, and names what comes") {
  Machine machine(2);
  std::vector<double> done;
  std::string words;
  machine.measure([&](double share, const std::string& next) {
    done.push_back(share);
    words += next + "\n";
  });
  CHECK(std::is_sorted(done.begin(), done.end()));
  CHECK(done.front() == 0);
  CHECK(done.back() == 1);
  CHECK(words.find("bandwidth by sm_pull, 65536 bytes, 1 -> 0") != std::string::npos);
  CHECK(words.find("latency by flag, 4 bytes, 0 -> 1") != std::string::npos);
  CHECK(words.find("bandwidth by copy_engine, 65536 bytes, host -> 1") != std::string::npos);
}

TEST_CASE("whoever watches can end it at any time; nothing is left behind") {
  const std::int64_t before = SimDevice::live_handles();
  Machine machine(2);
  for (int at = 0; at < 12; ++at) {
    int calls = 0;
    CHECK_THROWS_AS(machine.measure([&](double, const std::string&) {
      if (calls++ == at) throw std::runtime_error("enough");
    }),
                    std::runtime_error);
    CHECK(SimDevice::live_handles() == before);
  }
}

TEST_CASE("a call that fails ends it: what was measured is kept, nothing is left behind") {
  const std::int64_t before = SimDevice::live_handles();
  for (const DeviceCall call : {DeviceCall::submit, DeviceCall::copy, DeviceCall::record,
                                DeviceCall::wait, DeviceCall::synchronize}) {
    for (const std::int64_t nth : {3, 30}) {
      CAPTURE(name(call));
      Machine machine(2);
      machine.faults[1]->plan(call, nth, {ErrorCode::cuda_error, 0});
      const Measured measured = machine.measure();
      const bool struck = call != DeviceCall::wait || nth == 3;
      if (struck) {
        REQUIRE_FALSE(measured.notes.empty());
        CHECK(measured.notes.back().starts_with("measure: stopped at "));
        CHECK(measured.notes.back().find("planned fault") != std::string::npos);
      }
      CHECK(SimDevice::live_handles() == before);
    }
  }
}

TEST_CASE("what cannot be set up is an error, and nothing is left behind") {
  const std::int64_t before = SimDevice::live_handles();
  for (const DeviceCall call : {DeviceCall::allocate, DeviceCall::create_stream,
                                DeviceCall::create_event, DeviceCall::enable_peer}) {
    for (std::int64_t nth = 1; nth <= 3; ++nth) {
      CAPTURE(name(call));
      Machine machine(2);
      machine.faults[1]->plan(call, nth, {ErrorCode::out_of_memory, 0});
      if (call == DeviceCall::enable_peer && nth > 1) continue;  // it has one peer
      CHECK_THROWS_AS(machine.measure(), Error);
      CHECK(SimDevice::live_handles() == before);
    }
  }
}

TEST_CASE("a flag that never comes ends by its own deadline") {
  Machine machine(2);
  Plan only_flags = machine.plan;
  std::erase_if(only_flags.trials, [](const Trial& t) { return t.engine != Engine::flag; });
  machine.faults[1]->lie_about(machine.devices[0]->id(), DeviceCall::submit);
  const Measured measured =
      measure_devices(machine.devices, only_flags, {5, 60}, [](double, const std::string&) {});
  CHECK(measured.figures.empty());
  REQUIRE_FALSE(measured.notes.empty());
  CHECK(measured.notes.back().find("a flag did not come on sim:") != std::string::npos);
}

TEST_CASE("the time for all of it is limited") {
  Machine machine(2);
  const Measured measured =
      measure_devices(machine.devices, machine.plan, {5, 0}, [](double, const std::string&) {});
  CHECK(measured.figures.empty());
  CHECK(measured.notes.back().starts_with("measure: stopped after 0 s, before bandwidth"));
}

TEST_CASE("without a device there is nothing to measure") {
  const Measured measured = measure_devices({}, {}, {}, [](double, const std::string&) {});
  CHECK(measured.figures.empty());
}
