// Opening, closing, refusing, meeting: the fabric without any collective.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <thread>

#include "core/device/sim/sim_device.h"
#include "core/device/sim/sim_memory.h"
#include "fabric/fabric.h"

namespace weft::fabric {
namespace {

FabricOptions options(int ranks, double timeout = 30) {
  FabricOptions result;
  for (int r = 0; r < ranks; ++r) {
    result.devices.push_back(&weft::device({DeviceKind::sim, DeviceOrdinal(r)}));
  }
  result.topology = topology::preset("hgx-h200", ranks);
  result.timeout_seconds = timeout;
  result.scratch = Bytes(1 << 20);
  return result;
}

ErrorCode code_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::internal;
}

void empty_work(const WorkContext&, const void*) {}

TEST_CASE("opening and closing 8 simulated ranks is fast and leaves nothing") {
  const std::int64_t handles = SimDevice::live_handles();
  const std::int64_t memory = SimMemory::instance().bytes_in_use(DeviceOrdinal(0));
  std::int64_t best = INT64_MAX;
  for (int i = 0; i < 10; ++i) {
    const std::int64_t start = now_ns();
    Fabric::open(options(8))->close();
    best = std::min(best, now_ns() - start);
  }
  CHECK(SimDevice::live_handles() == handles);
  CHECK(SimMemory::instance().bytes_in_use(DeviceOrdinal(0)) == memory);
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
  CHECK(best < 20'000'000);
#endif
  MESSAGE("fastest open and close of 8 ranks: ", static_cast<double>(best) * 1e-6, " ms");
}

TEST_CASE("bad options are refused") {
  CHECK(code_of([] { Fabric::open({}); }) == ErrorCode::invalid_argument);
  for (const double timeout : {0.0, -1.0, std::nan(""), 1e300}) {
    CHECK(code_of([&] { Fabric::open(options(2, timeout)); }) == ErrorCode::invalid_argument);
  }
}

TEST_CASE("a closed fabric refuses everything but close") {
  const auto fabric = Fabric::open(options(2));
  fabric->close();
  fabric->close();
  fabric->abort("nothing to abort");
  CHECK(fabric->closed());
  CHECK(code_of([&] { fabric->launch([](Operation&) {}); }) == ErrorCode::fabric_closed);
  CHECK(code_of([&] { fabric->recover(); }) == ErrorCode::fabric_closed);
}

TEST_CASE("a prepare that throws has changed nothing") {
  const auto fabric = Fabric::open(options(2));
  const auto first = fabric->launch([](Operation&) {});
  CHECK(code_of([&] { fabric->launch([](Operation&) { fail(ErrorCode::alias, "refused"); }); }) ==
        ErrorCode::alias);
  const auto second = fabric->launch([](Operation&) {});
  CHECK(second->id() == first->id() + 1);
  CHECK(second->wait_until(Deadline::after_ns(5'000'000'000)));
}

TEST_CASE("operations are recycled") {
  const auto fabric = Fabric::open(options(2));
  const Operation* seen = nullptr;
  for (int i = 0; i < 5; ++i) {
    const auto operation = fabric->launch([](Operation& op) {
      for (Work& work : op.works()) work = Work::make("empty", empty_work, 0);
    });
    CHECK(operation->wait_until(Deadline::after_ns(5'000'000'000)));
    if (seen) CHECK(operation.get() == seen);
    seen = operation.get();
  }
}

TEST_CASE("abort poisons until recover, and says why") {
  const auto fabric = Fabric::open(options(2));
  fabric->abort("because of a test");
  fabric->abort("again");
  try {
    fabric->check_usable();
    FAIL("it should be poisoned");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::fabric_poisoned);
    CHECK(error.message().find("because of a test") != std::string::npos);
  }
  fabric->recover();
  fabric->recover();
  CHECK(fabric->launch([](Operation&) {})->wait_until(Deadline::after_ns(5'000'000'000)));
}

TEST_CASE("a rank that is already waiting is refused, abort ends the meeting") {
  const auto fabric = Fabric::open(options(3));
  int mark = 0;
  const auto never = [](const std::vector<const void*>&) { return std::shared_ptr<Operation>(); };
  // Both call for rank 0: one of them, whichever comes second, is refused at once.
  std::array<std::atomic<ErrorCode>, 2> codes{ErrorCode::internal, ErrorCode::internal};
  std::vector<std::thread> threads;
  for (auto& code : codes) {
    threads.emplace_back([&] {
      code = code_of(
          [&] { fabric->meet(Rank(0), "test", &mark, Deadline::after_ns(20'000'000'000), never); });
    });
  }
  const auto count = [&](ErrorCode code) { return std::count(codes.begin(), codes.end(), code); };
  const Deadline deadline = Deadline::after_ns(20'000'000'000);
  while (count(ErrorCode::invalid_argument) == 0 && !deadline.passed()) std::this_thread::yield();
  fabric->abort("test");
  for (auto& thread : threads) thread.join();
  CHECK(count(ErrorCode::invalid_argument) == 1);
  CHECK(count(ErrorCode::collective_aborted) == 1);
}

TEST_SUITE("stress") {
  TEST_CASE("ranks meet, again and again, and all get one operation") {
    const auto fabric = Fabric::open(options(4));
    std::vector<std::vector<std::uint64_t>> ids(4);
    std::vector<std::thread> threads;
    for (int r = 0; r < 4; ++r) {
      threads.emplace_back([&, r] {
        for (int i = 0; i < 50; ++i) {
          const auto operation = fabric->meet(
              Rank(r), "test", &r, Deadline::after_ns(20'000'000'000),
              [&](const std::vector<const void*>&) { return fabric->launch([](Operation&) {}); });
          ids[static_cast<std::size_t>(r)].push_back(operation->id());
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& other : ids) CHECK(other == ids.front());
  }
}

}  // namespace
}  // namespace weft::fabric
