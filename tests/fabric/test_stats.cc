// What is counted: ends, what is in flight, staged tensors, events; and one fabric that counts it.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/stats.h"

namespace weft::fabric {
namespace {

const auto kNoLinks = [](std::span<std::int64_t>) {};

TEST_CASE("an operation is in flight from its launch to its end, however it ends") {
  Stats stats{WorldSize(2)};
  for (int i = 0; i < 3; ++i) stats.add_launch();
  CHECK(stats.snapshot().in_flight == 3);
  OperationTotals operation{.kind = "all_reduce", .algorithm = "ring", .bytes = 8};
  operation.staged_tensors = 2;
  operation.staged_bytes = 16;
  stats.add_operation(operation, kNoLinks);
  CHECK(stats.snapshot().in_flight == 2);
  stats.add_empty();
  CHECK(stats.snapshot().in_flight == 1);
  stats.add_failure(ErrorCode::collective_timeout, "", "");
  const StatsSnapshot now = stats.snapshot();
  CHECK(now.in_flight == 0);
  CHECK(now.peak_in_flight == 3);
  CHECK(now.operations + now.failed == 3);
  CHECK(now.staged_tensors == 2);
  CHECK(now.staged_bytes == 16);
}

TEST_CASE("a fault of no operation ends none") {
  Stats stats{WorldSize(2)};
  stats.add_launch();
  stats.add_fault(ErrorCode::collective_timeout);
  CHECK(stats.snapshot().failed == 1);
  CHECK(stats.snapshot().in_flight == 1);
}

TEST_CASE("a reset leaves what is in flight, and the peak begins there") {
  Stats stats{WorldSize(2)};
  for (int i = 0; i < 4; ++i) stats.add_launch();
  for (int i = 0; i < 3; ++i) stats.add_empty();
  stats.reset();
  StatsSnapshot now = stats.snapshot();
  CHECK(now.operations == 0);
  CHECK(now.in_flight == 1);
  CHECK(now.peak_in_flight == 1);
  stats.add_empty();
  now = stats.snapshot();
  CHECK(now.operations == 1);
  CHECK(now.in_flight == 0);
}

struct Gate {
  std::atomic<bool> open{false};
};

void wait_at_gate(const WorkContext&, const void* params) {
  const Gate& gate = **static_cast<const Gate* const*>(params);
  while (!gate.open.load(std::memory_order_relaxed)) std::this_thread::yield();
}

FabricOptions options(int ranks) {
  FabricOptions result;
  for (int r = 0; r < ranks; ++r) {
    result.devices.push_back(&weft::device({DeviceKind::sim, DeviceOrdinal(r)}));
  }
  result.topology = topology::preset("hgx-h200", ranks);
  result.scratch = Bytes(1 << 20);
  return result;
}

TEST_CASE("a fabric counts what it launched, and finds out by itself what has ended") {
  const auto fabric = Fabric::open(options(2));
  Gate gate;
  const Gate* at = &gate;
  std::vector<std::shared_ptr<Operation>> held;
  for (int i = 0; i < 5; ++i) {
    held.push_back(fabric->launch([&](Operation& operation) {
      for (Work& work : operation.works()) work = Work::make("gate", wait_at_gate, at);
    }));
  }
  fabric->notice_ended();
  CHECK(fabric->stats().snapshot().in_flight == 5);
  gate.open.store(true, std::memory_order_relaxed);
  const Deadline soon = Deadline::after_ns(10'000'000'000);
  while (fabric->stats().snapshot().in_flight > 0 && !soon.passed()) fabric->notice_ended();
  const StatsSnapshot now = fabric->stats().snapshot();
  CHECK(now.in_flight == 0);
  CHECK(now.peak_in_flight == 5);
  CHECK(now.operations == 5);
  CHECK(fabric->events().recorded() == fabric->events().snapshot().next_seq);
}

TEST_CASE("an operation that was refused or recorded was not launched") {
  const auto fabric = Fabric::open(options(2));
  CHECK_THROWS_AS(fabric->launch([](Operation&) { fail(ErrorCode::alias, "refused"); }), Error);
  fabric->begin_capture();
  fabric->launch([](Operation&) {});
  fabric->end_capture();
  CHECK(fabric->stats().snapshot().in_flight == 0);
  CHECK(fabric->stats().snapshot().peak_in_flight == 0);
}

TEST_CASE("the cause of a poisoned fabric is told until it recovers") {
  const auto fabric = Fabric::open(options(2));
  CHECK_FALSE(fabric->poison_cause());
  fabric->abort("had enough");
  CHECK(fabric->poison_cause() == "had enough");
  fabric->recover();
  CHECK_FALSE(fabric->poison_cause());
}

}  // namespace

TEST_SUITE("stress") {
  // One thread launches, two end what it launched, and every snapshot meanwhile adds up.
  TEST_CASE("snapshots are consistent while operations begin and end and totals are reset") {
    Stats stats{WorldSize(2)};
    constexpr int kOperations = 20'000;
    std::atomic<int> launched{0};
    std::atomic<int> taken{0};
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
      for (int i = 0; i < kOperations; ++i) {
        stats.add_launch();
        launched.fetch_add(1, std::memory_order_release);
      }
    });
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int mine = taken.fetch_add(1); mine < kOperations; mine = taken.fetch_add(1)) {
          while (launched.load(std::memory_order_acquire) <= mine) std::this_thread::yield();
          t == 0 ? stats.add_empty() : stats.add_failure(ErrorCode::collective_aborted, "x", "y");
        }
      });
    }
    std::uint64_t last = 0;
    for (int i = 0; i < 2000; ++i) {
      const StatsSnapshot now = stats.snapshot();
      const std::uint64_t all = now.operations + now.failed + now.in_flight;
      REQUIRE(now.peak_in_flight >= now.in_flight);
      REQUIRE(now.in_flight <= kOperations);
      REQUIRE(all >= last);
      last = all;
    }
    for (int i = 0; i < 200; ++i) {
      stats.reset();
      const StatsSnapshot now = stats.snapshot();
      REQUIRE(now.peak_in_flight >= now.in_flight);
    }
    for (auto& thread : threads) thread.join();
    CHECK(stats.snapshot().in_flight == 0);
  }
}

}  // namespace weft::fabric
