// Opening, closing, refusing, meeting: the fabric without any collective.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <thread>
#include <vector>

#include "core/device/fault/fault_device.h"
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

std::vector<EventRecord> faults_of(Fabric& fabric) {
  std::vector<EventRecord> events = fabric.events().snapshot().events;
  std::erase_if(events, [](const EventRecord& event) { return event.kind != EventKind::fault; });
  return events;
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

// Fills every rank's scratch with sevens.
void fill_scratch(Fabric& fabric) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    const Arena& arena = fabric.arena(Rank(r));
    fabric.device(Rank(r)).fill(fabric.stream(Rank(r)), arena.scratch(), 7,
                                Bytes(arena.layout.scratch_bytes));
  }
}

TEST_CASE("scratch is prepared by open and again by recover, and whoever waits finds it so") {
  FabricOptions prepared = options(2);
  prepared.prepare_scratch = fill_scratch;
  const auto fabric = Fabric::open(std::move(prepared));
  const auto last = [&](int rank) -> std::byte& {
    const Arena& arena = fabric->arena(Rank(rank));
    return arena.scratch()[arena.layout.scratch_bytes - 1];
  };
  for (int r = 0; r < 2; ++r) CHECK(last(r) == std::byte{7});
  last(0) = last(1) = std::byte{0};
  fabric->abort("test");
  fabric->recover();
  for (int r = 0; r < 2; ++r) CHECK(last(r) == std::byte{7});
}

TEST_CASE("scratch that cannot be prepared: the error comes out and nothing is left behind") {
  const std::int64_t handles = SimDevice::live_handles();
  FaultDevice faulty(weft::device({DeviceKind::sim, DeviceOrdinal(1)}));
  faulty.plan(DeviceCall::fill, 1, {ErrorCode::cuda_error, 0});
  FabricOptions prepared = options(2);
  prepared.devices[1] = &faulty;
  prepared.prepare_scratch = fill_scratch;
  CHECK(code_of([&] { Fabric::open(std::move(prepared)); }) == ErrorCode::cuda_error);
  CHECK(SimDevice::live_handles() == handles);
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

using Launch = std::shared_ptr<Operation>(const std::vector<const void*>&);
constexpr auto kNever = [] { return false; };

// One rank's call, and the error it ends with.
ErrorCode meet(Fabric& fabric, int rank, const char* what, const std::function<Launch>& launch) {
  return code_of([&] {
    fabric.meet({Rank(rank), what, &fabric, Deadline::after_ns(20'000'000'000)}, launch, kNever);
  });
}

const std::function<Launch> kNoLaunch = [](const std::vector<const void*>&) {
  return std::shared_ptr<Operation>();
};

TEST_CASE("a rank that is already waiting is refused, abort ends the meeting") {
  const auto fabric = Fabric::open(options(3));
  // Both call for rank 0: one of them, whichever comes second, is refused at once.
  std::array<std::atomic<ErrorCode>, 2> codes{ErrorCode::internal, ErrorCode::internal};
  std::vector<std::thread> threads;
  for (auto& code : codes) {
    threads.emplace_back([&] { code = meet(*fabric, 0, "test", kNoLaunch); });
  }
  const auto count = [&](ErrorCode code) { return std::count(codes.begin(), codes.end(), code); };
  const Deadline deadline = Deadline::after_ns(20'000'000'000);
  while (count(ErrorCode::invalid_argument) == 0 && !deadline.passed()) std::this_thread::yield();
  fabric->abort("test");
  for (auto& thread : threads) thread.join();
  CHECK(count(ErrorCode::invalid_argument) == 1);
  CHECK(count(ErrorCode::collective_aborted) == 1);
}

TEST_CASE("ranks that come for different operations are all refused, and may come again") {
  const auto fabric = Fabric::open(options(2));
  const auto both = [&](const char* a, const char* b) {
    ErrorCode first = ErrorCode::internal;
    std::thread other([&] {
      first = meet(*fabric, 0, a, [&](const std::vector<const void*>&) {
        return fabric->launch([](Operation&) {});
      });
    });
    const ErrorCode second = meet(*fabric, 1, b, [&](const std::vector<const void*>&) {
      return fabric->launch([](Operation&) {});
    });
    other.join();
    CHECK(first == second);
    return first;
  };
  CHECK(both("all_reduce", "barrier") == ErrorCode::invalid_argument);
  CHECK(both("barrier", "barrier") == ErrorCode::internal);  // no error
}

TEST_CASE("close and faults wake a rank that waits for the others") {
  for (const bool close : {true, false}) {
    const auto fabric = Fabric::open(options(2));
    ErrorCode code = ErrorCode::internal;
    std::thread waiting([&] { code = meet(*fabric, 0, "test", kNoLaunch); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::int64_t start = now_ns();
    close ? fabric->close() : fabric->abort("test");
    waiting.join();
    CHECK(now_ns() - start < 5'000'000'000);
    CHECK(code == (close ? ErrorCode::fabric_closed : ErrorCode::collective_aborted));
  }
}

TEST_CASE("a meeting that not every rank came to is one event and one failure") {
  const auto fabric = Fabric::open(options(3));
  std::array<ErrorCode, 2> codes{};
  std::vector<std::thread> threads;
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&, r] {
      codes[static_cast<std::size_t>(r)] = code_of([&] {
        fabric->meet({Rank(r), "test", &codes, Deadline::after_ns(100'000'000)}, kNoLaunch, kNever);
      });
    });
  }
  for (auto& thread : threads) thread.join();
  // The second to come may come when the first has given up, and is then refused.
  const auto ended = [&](ErrorCode code) { return std::count(codes.begin(), codes.end(), code); };
  CHECK(ended(ErrorCode::collective_timeout) >= 1);
  CHECK(ended(ErrorCode::collective_timeout) + ended(ErrorCode::fabric_poisoned) == 2);
  const std::vector<EventRecord> faults = faults_of(*fabric);
  REQUIRE(faults.size() == 1);
  const EventRecord& event = faults.front();
  CHECK(event.status == EventStatus::failed);
  CHECK(event.op_id == EventRecord::kNoOperation);
  CHECK((event.rank == 0 || event.rank == 1));
  CHECK(event.device == event.rank);
  CHECK((event.culprit == 2 || ended(ErrorCode::fabric_poisoned) == 1));
  CHECK(event.t_end_ns - event.t_start_ns >= 90'000'000);
  CHECK(fabric->stats().snapshot().failed == 1);
  fabric->recover();
  CHECK(fabric->launch([](Operation&) {})->wait_until(Deadline::after_ns(5'000'000'000)));
  CHECK(fabric->stats().snapshot().failed == 1);
}

TEST_CASE("an interrupted rank ends the meeting for all") {
  const auto fabric = Fabric::open(options(2));
  std::atomic<bool> interrupted{false};
  ErrorCode code = ErrorCode::internal;
  std::thread waiting([&] {
    code = code_of([&] {
      fabric->meet({Rank(0), "test", &code, Deadline::after_ns(20'000'000'000)}, kNoLaunch,
                   [&] { return interrupted.load(); });
    });
  });
  interrupted = true;
  waiting.join();
  CHECK(code == ErrorCode::collective_aborted);
}

TEST_CASE("a refused operation keeps nothing") {
  const auto fabric = Fabric::open(options(2));
  auto storage = Storage::allocate({DeviceKind::cpu, DeviceOrdinal(0)}, Bytes(64));
  const std::weak_ptr<Storage> alive = storage;
  CHECK(code_of([&] {
          fabric->launch([&](Operation& op) {
            op.keep(std::move(storage));
            fail(ErrorCode::alias, "refused");
          });
        }) == ErrorCode::alias);
  CHECK(alive.expired());
}

struct SleepParams {
  std::atomic<bool>* finished;
};
void sleep_work(const WorkContext&, const void* params) {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  static_cast<const SleepParams*>(params)->finished->store(true);
}

TEST_CASE("a device's error names its rank, and does not end an operation that others still run") {
  FaultDevice faulty(weft::device({DeviceKind::sim, DeviceOrdinal(0)}));
  FabricOptions chosen = options(2);
  chosen.devices[0] = &faulty;
  const auto fabric = Fabric::open(std::move(chosen));
  std::atomic<bool> finished{false};
  faulty.plan(DeviceCall::synchronize, 1, {ErrorCode::device_lost, 0});
  const auto operation = fabric->launch([&](Operation& op) {
    op.works()[1] = Work::make("sleep", sleep_work, SleepParams{&finished});
  });
  CHECK(operation->wait_until(Deadline::after_ns(5'000'000'000)));
  CHECK(finished);
  REQUIRE(operation->error());
  CHECK(operation->error()->code() == ErrorCode::device_lost);
  CHECK(operation->error()->context().rank == 0);
  CHECK(operation->error()->context().culprits == std::vector<int>{0});
  CHECK(code_of([&] { fabric->check_usable(); }) == ErrorCode::fabric_poisoned);
}

TEST_CASE("what a joint work enqueued before it failed is waited for") {
  FaultDevice faulty(weft::device({DeviceKind::sim, DeviceOrdinal(0)}));
  FabricOptions chosen = options(2);
  chosen.devices[0] = &faulty;
  const auto fabric = Fabric::open(std::move(chosen));
  std::atomic<bool> finished{false};
  const auto prepare = [&](Operation& op) {
    op.info().joint = true;
    op.works()[0] = Work::make("empty", empty_work, 0);
    // Stands for what rank 0's work did for rank 1 before it failed.
    fabric->device(Rank(1)).submit(fabric->stream(Rank(1)),
                                   Work::make("sleep", sleep_work, SleepParams{&finished}));
    faulty.plan(DeviceCall::submit, 1, {ErrorCode::cuda_error, 0});
  };
  CHECK(code_of([&] { fabric->launch(prepare); }) == ErrorCode::cuda_error);
  CHECK(finished);
  fabric->recover();
}

TEST_CASE("a launch that runs out of host memory is poisoned, and held until its works ended") {
  FaultDevice faulty(weft::device({DeviceKind::sim, DeviceOrdinal(1)}));
  FabricOptions chosen = options(2);
  chosen.devices[1] = &faulty;
  const auto fabric = Fabric::open(std::move(chosen));
  for (const DeviceCall call : {DeviceCall::submit, DeviceCall::record}) {
    // Where the record fails, the works are under way already.
    std::array<std::atomic<bool>, 2> finished{};
    faulty.plan(call, 1, {std::nullopt, 0, true});
    CHECK(code_of([&] {
            fabric->launch([&](Operation& op) {
              for (std::size_t r = 0; r < 2; ++r) {
                op.works()[r] = Work::make("sleep", sleep_work, SleepParams{&finished[r]});
              }
            });
          }) == ErrorCode::out_of_memory);
    CHECK(finished[0]);
    CHECK(finished[1] == (call == DeviceCall::record));
    CHECK(code_of([&] { fabric->check_usable(); }) == ErrorCode::fabric_poisoned);
    CHECK(fabric->events().snapshot().events.back().status == EventStatus::failed);
    fabric->recover();
    CHECK(fabric->launch([](Operation&) {})->wait_until(Deadline::after_ns(5'000'000'000)));
  }
}

struct HoldParams {
  std::atomic<bool>* released;
};
void hold_work(const WorkContext&, const void* params) {
  while (!static_cast<const HoldParams*>(params)->released->load()) std::this_thread::yield();
}

TEST_CASE("a wait without a limit ends where a rank does not leave after a fault") {
  const auto fabric = Fabric::open(options(2));
  std::atomic<bool> released{false};
  const auto operation = fabric->launch(
      [&](Operation& op) { op.works()[1] = Work::make("hold", hold_work, HoldParams{&released}); });
  int asked = 0;
  CHECK_FALSE(operation->wait(Deadline::never(), [&] { return ++asked == 2; }));
  fabric->abort("test");
  const std::int64_t start = now_ns();
  CHECK_FALSE(operation->wait(Deadline::never(), kNever));
  CHECK(now_ns() - start >= kLeaveGrace);
  CHECK(now_ns() - start < 3 * kLeaveGrace);
  CHECK(operation->unfinished() == std::vector<int>{1});
  released = true;
  CHECK(operation->wait(Deadline::never(), kNever));
}

TEST_CASE("a rank that waits beyond its deadline for the launch does not keep a processor busy") {
  const auto fabric = Fabric::open(options(2, 5));
  std::atomic<int> asked{0};
  std::thread waiting([&] {
    const auto count = [&] { return ++asked < 0; };
    fabric->meet(
        {Rank(0), "test", &asked, Deadline::after_ns(100'000'000)},
        [&](const std::vector<const void*>&) { return std::shared_ptr<Operation>(); }, count);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  meet(*fabric, 1, "test", [](const std::vector<const void*>&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    return std::shared_ptr<Operation>();
  });
  waiting.join();
  CHECK(asked <= 20);  // every 50 ms
}

TEST_CASE("a rank that is interrupted while the last one launches gets what was launched") {
  const auto fabric = Fabric::open(options(2));
  std::atomic<bool> interrupted{false};
  std::shared_ptr<Operation> got;
  std::thread waiting([&] {
    got = fabric->meet({Rank(0), "test", &got, Deadline::after_ns(20'000'000'000)}, kNoLaunch,
                       [&] { return interrupted.load(); });
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto launched = fabric->meet(
      {Rank(1), "test", &got, Deadline::after_ns(20'000'000'000)},
      [&](const std::vector<const void*>&) {
        const auto operation = fabric->launch([](Operation&) {});
        interrupted = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        return operation;
      },
      kNever);
  waiting.join();
  CHECK(launched);
  CHECK(got == launched);
  CHECK(code_of([&] { fabric->check_usable(); }) == ErrorCode::fabric_poisoned);  // aborted
}

TEST_CASE("what one rank is refused for, ranks that wait hear at once and others when they come") {
  const auto fabric = Fabric::open(options(3));
  const auto launch = [&](const std::vector<const void*>&) {
    return fabric->launch([](Operation&) {});
  };
  ErrorCode waiting_code = ErrorCode::internal;
  std::thread waiting([&] { waiting_code = meet(*fabric, 0, "test", launch); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  fabric->refuse(Rank(1), Error(ErrorCode::alias, "refused"));
  waiting.join();
  CHECK(waiting_code == ErrorCode::alias);
  CHECK(meet(*fabric, 2, "test", launch) == ErrorCode::alias);
  // A rank that is refused itself has come with that.
  fabric->refuse(Rank(0), Error(ErrorCode::alias, "refused"));
  fabric->refuse(Rank(1), Error(ErrorCode::read_only_buffer, "refused"));
  CHECK(meet(*fabric, 2, "test", launch) == ErrorCode::alias);
  // What was refused before an abort concerns nobody after recover().
  fabric->refuse(Rank(0), Error(ErrorCode::alias, "refused"));
  fabric->abort("test");
  fabric->refuse(Rank(0), Error(ErrorCode::alias, "refused"));
  fabric->recover();
  std::array<ErrorCode, 3> codes{};
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back(
        [&, r] { codes[static_cast<std::size_t>(r)] = meet(*fabric, r, "test", launch); });
  }
  for (auto& thread : threads) thread.join();
  for (const ErrorCode code : codes) CHECK(code == ErrorCode::internal);  // no error
}

TEST_SUITE("stress") {
  TEST_CASE("refused ranks and ranks that launch stay in step") {
    const auto fabric = Fabric::open(options(3));
    constexpr int kRounds = 30;
    std::array<int, 3> refused{};
    std::vector<std::thread> threads;
    for (int r = 0; r < 3; ++r) {
      threads.emplace_back([&, r] {
        const auto launch = [&](const std::vector<const void*>&) {
          return fabric->launch([](Operation&) {});
        };
        for (int round = 0; round < kRounds; ++round) {
          if (round % 3 != 1 && (round + r) % 3 == 0) {
            fabric->refuse(Rank(r), Error(ErrorCode::alias, "refused"));
            ++refused[static_cast<std::size_t>(r)];
          } else {
            const ErrorCode code = meet(*fabric, r, "test", launch);
            refused[static_cast<std::size_t>(r)] += code == ErrorCode::alias;
            CHECK((code == ErrorCode::alias || code == ErrorCode::internal));
          }
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (const int count : refused) CHECK(count == 20);
    fabric->check_usable();
  }

  TEST_CASE("closing right after an operation was given to the watchdog") {
    const auto fabric = Fabric::open(options(2));
    fabric->watch(fabric->launch([](Operation&) {}));
    fabric->close();
    fabric->watch(nullptr);  // too late: ignored
  }

  TEST_CASE("meetings that end by a timeout count as often as they end, whoever notices") {
    const auto fabric = Fabric::open(options(4));
    constexpr std::uint64_t kRounds = 10;
    for (std::uint64_t round = 1; round <= kRounds; ++round) {
      std::vector<std::thread> threads;
      for (int r = 0; r < 3; ++r) {
        threads.emplace_back([&, r] {
          const ErrorCode code = code_of([&] {
            fabric->meet({Rank(r), "test", &r, Deadline::after_ns(2'000'000)}, kNoLaunch, kNever);
          });
          const bool late = code == ErrorCode::fabric_poisoned;
          CHECK((late || code == ErrorCode::collective_timeout));
        });
      }
      for (auto& thread : threads) thread.join();
      CHECK(fabric->stats().snapshot().failed == round);
      CHECK(faults_of(*fabric).size() == round);
      fabric->recover();
    }
  }

  TEST_CASE("ranks meet, again and again, and all get one operation") {
    const auto fabric = Fabric::open(options(4));
    std::vector<std::vector<std::uint64_t>> ids(4);
    std::vector<std::thread> threads;
    for (int r = 0; r < 4; ++r) {
      threads.emplace_back([&, r] {
        for (int i = 0; i < 50; ++i) {
          const auto launch = [&](const std::vector<const void*>&) {
            return fabric->launch([](Operation&) {});
          };
          const auto operation = fabric->meet(
              {Rank(r), "test", &r, Deadline::after_ns(20'000'000'000)}, launch, kNever);
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
