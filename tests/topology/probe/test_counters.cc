// NVLink's counters, as a recorded NVML tells them, and as one that masks them does.
#include <doctest/doctest.h>

#include <string>

#include "tests/topology/probe/fake_nvml.h"
#include "topology/probe/counters.h"

namespace {

using namespace weft::topology;
using namespace weft::topology::testing;

}  // namespace

TEST_CASE("every link of every device is counted, in bytes") {
  machine = {};
  machine.devices[0x1b].links = {{true, 2, 0, 26562, 6, 1000, 2000, 3}, {false, 2, 0, 26562}};
  machine.devices[0x2a].links = {{true, 2, 0, 26562, 6, 2000, 1000, 0}};
  const NvmlApi nvml = fake_nvml();
  const CounterReading reading = read_counters(&nvml, {"0000:1b:00.0", "0000:2a:00.0"});
  REQUIRE(reading.links.size() == 3);
  CHECK(reading.links[0].device == 0);
  CHECK(reading.links[0].active);
  CHECK(reading.links[0].sent_bytes == 1000 * 1024);
  CHECK(reading.links[0].received_bytes == 2000 * 1024);
  CHECK(reading.links[0].replay_errors == 3);
  CHECK_FALSE(reading.links[1].active);
  CHECK(reading.links[2].device == 1);
  CHECK(reading.notes.empty());
  CHECK(reading.at_ns > 0);
}

TEST_CASE("counters that are not supported are not told, the links are") {
  machine = {};
  machine.devices[0x1b].links = {{true, 2, 0, 26562}};
  machine.counts_throughput = false;
  NvmlApi nvml = fake_nvml();
  nvml.link_errors = nullptr;
  const CounterReading reading = read_counters(&nvml, {"0000:1b:00.0"});
  REQUIRE(reading.links.size() == 1);
  CHECK(reading.links[0].active);
  CHECK_FALSE(reading.links[0].sent_bytes.has_value());
  CHECK_FALSE(reading.links[0].crc_errors.has_value());
}

TEST_CASE("without NVML, a device or NVLinks there is a reason") {
  machine = {};
  machine.devices[0x1b] = {};
  const NvmlApi nvml = fake_nvml();
  CHECK(read_counters(nullptr, {"0000:1b:00.0"}, "NVML is away").notes.at(0) == "NVML is away");
  CHECK(read_counters(&nvml, {"0000:2a:00.0"}).notes.at(0).find("does not know cuda:0") !=
        std::string::npos);
  CHECK(read_counters(&nvml, {std::nullopt}).notes.at(0).find("PCI address") != std::string::npos);
  CHECK(read_counters(&nvml, {"0000:1b:00.0"}).notes.at(0).find("no device has an NVLink") !=
        std::string::npos);
}
