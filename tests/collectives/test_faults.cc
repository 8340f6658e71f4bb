// Faults in mid-schedule: the right error, the right culprit, in time; then everything works again.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "collectives/schedule/ring.h"
#include "core/device/fault/fault_device.h"
#include "tests/collectives/resources.h"
#include "tests/collectives/sim_fabric.h"

namespace weft::testing {
namespace {

using collectives::FaultPoint;

// Long enough that a rank which merely waits for a processor is not taken for one that stopped.
constexpr double kTimeout = 0.2;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr double kGrace = 2.0;
constexpr int kRounds = 3;
constexpr int kAborts = 30;
#else
constexpr double kGrace = 0.25;
constexpr int kRounds = 100;
constexpr int kAborts = 1000;
#endif

double seconds_since(std::int64_t start) { return static_cast<double>(now_ns() - start) * 1e-9; }

// One rank stops at one step. Returns how long after the timeout the error came.
double stop_and_recover(Fabric& fabric, int rank, int step, double timeout) {
  const int n = fabric.world().value();
  Vectors vectors(n, 5000, 1);
  collectives::plan_fault(fabric, {FaultPoint::Action::stop, rank, step, 0});
  const std::int64_t start = now_ns();
  const auto error = sum_in_place(fabric, vectors, timeout);
  const double late = seconds_since(start) - timeout;
  collectives::plan_fault(fabric, {});
  if (step == 2 * n - 2) {
    // A rank that stops before its last wait has done its part: nobody misses it.
    CHECK_FALSE(error);
  } else {
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::collective_timeout);
    CHECK_MESSAGE(error->context().culprits == std::vector<int>{rank}, "n ", n, " step ", step,
                  " rank ", rank, ": ", error->message());
    CHECK_THROWS_AS(sum_in_place(fabric, vectors), Error);
  }
  fabric.abort("test");
  fabric.recover();
  Vectors again(n, 3000, 2);
  REQUIRE_FALSE(sum_in_place(fabric, again));
  REQUIRE(again.wrong() == 0);
  return late;
}

// Every rank at every step, n = 2..5: 94 faults, `repeats` times. Returns the worst lateness.
double stop_everywhere(int repeats, double timeout) {
  double worst = 0;
  int faults = 0;
  for (int n = 2; n <= 5; ++n) {
    const auto fabric = open_sim(n);
    for (int i = 0; i < repeats * n * schedule::ring::step_count(WorldSize(n)); ++i) {
      worst = std::max(worst, stop_and_recover(*fabric, i % n, i / n % (2 * n - 1), timeout));
      ++faults;
    }
  }
  std::printf("worst time past the timeout, of %d faults: %.1f ms\n", faults, worst * 1e3);
  return worst;
}

TEST_CASE("a rank that stops at any step is named in time, and the fabric recovers") {
  const Resources before;
  CHECK(stop_everywhere(1, kTimeout) < kGrace);
  CHECK(left_over(before) == before);
}

TEST_SUITE("slow") {
  TEST_CASE("1,000 ranks that stop") {
    const Resources before;
    CHECK(stop_everywhere(11, kTimeout / 4) < kGrace);
    CHECK(left_over(before) == before);
  }
}

TEST_CASE("a fault of an operation that nobody waits for poisons the fabric") {
  const auto fabric = open_sim(3);
  Vectors vectors(3, 5000, 1);
  collectives::plan_fault(*fabric, {FaultPoint::Action::stop, 1, 0, 0});
  collectives::CallOptions options;
  options.timeout_ns = seconds_to_ns(kTimeout);
  fabric->watch(
      collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, options));
  const Deadline deadline = soon();
  while (fabric->stats().snapshot().failed == 0) {
    REQUIRE_FALSE(deadline.passed());
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK_THROWS_AS(fabric->check_usable(), Error);
  collectives::plan_fault(*fabric, {});
  fabric->recover();
  Vectors again(3, 5000, 2);
  CHECK_FALSE(sum_in_place(*fabric, again));
}

TEST_CASE("a late rank is named, and 100 collectives work after recover()") {
  const auto fabric = open_sim(3);
  for (int round = 0; round < kRounds / 20 + 1; ++round) {
    collectives::plan_fault(*fabric, {FaultPoint::Action::delay, 1, 1, 1'000'000'000});
    Vectors vectors(3, 5000, 1);
    const auto error = sum_in_place(*fabric, vectors, kTimeout);
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::collective_timeout);
    CHECK_MESSAGE(error->context().culprits == std::vector<int>{1}, error->message());
    collectives::plan_fault(*fabric, {});
    fabric->recover();
  }
  for (std::uint32_t i = 0; i < 100; ++i) {
    Vectors again(3, 2000, i);
    REQUIRE_FALSE(sum_in_place(*fabric, again));
    REQUIRE(again.wrong() == 0);
  }
}

TEST_CASE("a fault that nobody has seen is found by the next call, and by recover()") {
  for (const bool recovers : {true, false}) {
    const auto fabric = open_sim(3);
    Vectors vectors(3, 5000, 1);
    collectives::plan_fault(*fabric, {FaultPoint::Action::stop, 1, 0, 0});
    collectives::CallOptions options;
    options.timeout_ns = seconds_to_ns(kTimeout);
    collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, options);
    collectives::plan_fault(*fabric, {});
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    Vectors again(3, 5000, 2);
    if (recovers) {
      fabric->recover();
      CHECK_FALSE(sum_in_place(*fabric, again));
      CHECK(again.wrong() == 0);
    } else {
      CHECK_THROWS_AS(sum_in_place(*fabric, again), Error);
      fabric->recover();
    }
  }
}

TEST_CASE("a rank that stopped takes no part in the next operation") {
  const auto fabric = open_sim(2);
  for (int step = 0; step < 2; ++step) {
    Vectors first(2, 5000, 1);
    Vectors second(2, 5000, 2);
    collectives::CallOptions options;
    options.timeout_ns = seconds_to_ns(kTimeout);
    collectives::plan_fault(*fabric, {FaultPoint::Action::stop, 1, step, 0});
    const auto operation =
        collectives::all_reduce(*fabric, first.tensors, first.tensors, ReduceOp::sum, options);
    collectives::plan_fault(*fabric, {});
    collectives::all_reduce(*fabric, second.tensors, second.tensors, ReduceOp::sum, options);
    REQUIRE(operation->wait_until(soon()));
    REQUIRE(operation->error());
    CHECK(operation->error()->context().culprits == std::vector<int>{1});
    fabric->recover();
  }
}

TEST_CASE("abort from another thread ends every rank") {
  const auto fabric = open_sim(4);
  double worst = 0;
  for (int round = 0; round < kAborts; ++round) {
    collectives::plan_fault(*fabric, {FaultPoint::Action::stop, round % 4, round % 6, 0});
    Vectors vectors(4, 5000, 1);
    const auto operation =
        collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, {});
    std::this_thread::sleep_for(std::chrono::microseconds(37 * (round % 20)));
    const std::int64_t start = now_ns();
    std::thread([&] { fabric->abort("test"); }).join();
    REQUIRE(operation->wait_until(soon()));
    worst = std::max(worst, seconds_since(start));
    const auto error = operation->error();
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::collective_aborted);
    collectives::plan_fault(*fabric, {});
    fabric->recover();
  }
  std::printf("worst time from abort to the end, of %d: %.1f ms\n", kAborts, worst * 1e3);
  CHECK(worst < kGrace);
  Vectors again(4, 2000, 7);
  CHECK_FALSE(sum_in_place(*fabric, again));
  CHECK(again.wrong() == 0);
}

TEST_CASE("a rank that never arrives is named, and nothing was launched") {
  const auto fabric = open_sim(3);
  Vectors vectors(3, 1000, 1);
  collectives::CallOptions options;
  options.timeout_ns = seconds_to_ns(kTimeout);
  std::vector<std::optional<Error>> errors(3);
  std::vector<std::thread> threads;
  const std::int64_t start = now_ns();
  for (const int r : {0, 2}) {
    threads.emplace_back([&, r] {
      const auto i = static_cast<std::size_t>(r);
      try {
        collectives::all_reduce(*fabric, Rank(r), vectors.tensors[i], vectors.tensors[i],
                                ReduceOp::sum, options);
      } catch (const Error& error) {
        errors[i] = error;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(seconds_since(start) < kTimeout + kGrace);
  for (const std::size_t i : {0u, 2u}) {
    REQUIRE(errors[i]);
    CHECK(errors[i]->code() == ErrorCode::collective_timeout);
    CHECK(errors[i]->context().culprits == std::vector<int>{1});
  }
  CHECK(fabric->stats().snapshot().operations == 0);
  CHECK_THROWS_AS(fabric->check_usable(), Error);
  fabric->recover();
  CHECK_FALSE(sum_in_place(*fabric, vectors));
}

TEST_CASE("a launch that fails on one rank ends the others, and leaves nothing behind") {
  const Resources before;
  {
    FaultDevice faulty(device(sim(1)));
    fabric::FabricOptions options = sim_options(3, 5);
    options.devices[1] = &faulty;
    const auto fabric = collectives::open(std::move(options));
    Vectors vectors(3, 1000, 1);
    REQUIRE_FALSE(sum_in_place(*fabric, vectors));
    faulty.plan(DeviceCall::submit, 1, {ErrorCode::cuda_error, 0});
    try {
      sum_in_place(*fabric, vectors);
      FAIL("the launch should have failed");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::cuda_error);
      CHECK(error.context().culprits == std::vector<int>{1});
    }
    const std::int64_t start = now_ns();
    fabric->recover();
    CHECK(seconds_since(start) < 1 + kGrace);
    Vectors again(3, 1000, 2);
    CHECK_FALSE(sum_in_place(*fabric, again));
    CHECK(again.wrong() == 0);
  }
  CHECK(left_over(before) == before);
}

// A rank that still ran would signal into the next operation, or use what is no more.
TEST_CASE("a device that does not say when its rank ends: the rank is waited for all the same") {
  static std::atomic<bool> slept;
  slept = false;
  FaultDevice faulty(device(sim(0)));
  fabric::FabricOptions options = sim_options(3);
  options.devices[0] = &faulty;
  const auto fabric = collectives::open(std::move(options));
  const auto sleep = [](const WorkContext&, const void*) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    slept = true;
  };
  faulty.submit(fabric->stream(Rank(0)), Work::make("sleep", sleep, 0));
  Vectors vectors(3, 1000, 1);
  const auto operation =
      collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, {});
  faulty.plan(DeviceCall::synchronize, 1, {ErrorCode::device_lost, 0});
  REQUIRE(operation->wait_until(soon()));
  CHECK(slept);
  REQUIRE(operation->error());
  CHECK(operation->error()->code() == ErrorCode::device_lost);
  CHECK(operation->error()->context().culprits == std::vector<int>{0});
  fabric->recover();
  Vectors again(3, 1000, 2);
  CHECK_FALSE(sum_in_place(*fabric, again));
  CHECK(again.wrong() == 0);
}

TEST_CASE("a capture that begins while tensors are staged refuses them and leaves the outputs") {
  FaultDevice slow(device(sim(0)));
  fabric::FabricOptions options = sim_options(2);
  options.devices[0] = &slow;
  const auto fabric = collectives::open(std::move(options));
  const std::int64_t sizes[] = {1000};
  const std::int64_t strides[] = {2};
  std::vector<Tensor> tensors;
  Vectors vectors(2, 2000, 1);
  for (const Tensor& whole : vectors.tensors) {
    tensors.emplace_back(whole.storage(), DType::f32, Layout::strided(sizes, strides));
  }
  collectives::CallOptions call;
  const std::vector<Stream> streams{fabric->stream(Rank(0)), fabric->stream(Rank(1))};
  call.streams = streams;
  // Staging waits for the streams first.
  slow.plan(DeviceCall::synchronize, 1, {std::nullopt, 300'000'000});
  std::optional<Error> error;
  std::thread calling([&] {
    try {
      collectives::all_reduce(*fabric, tensors, tensors, ReduceOp::sum, call);
    } catch (const Error& caught) {
      error = caught;
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  fabric->begin_capture();
  calling.join();
  fabric->end_capture();
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::invalid_argument);
  for (int r = 0; r < 2; ++r) {
    for (std::int64_t i = 0; i < 2000; ++i) REQUIRE(vectors.data(r)[i] == vectors.value(r, i));
  }
}

TEST_CASE("every device call of opening may fail: named error, nothing left behind") {
  const Resources before;
  for (int call = 0; call < kDeviceCalls; ++call) {
    for (std::int64_t nth = 1;; ++nth) {
      FaultDevice first(device(sim(0)));
      first.plan(static_cast<DeviceCall>(call), nth, {ErrorCode::out_of_memory, 0});
      fabric::FabricOptions options = sim_options(2);
      options.devices[0] = &first;
      try {
        collectives::open(std::move(options));
        CHECK(first.calls(static_cast<DeviceCall>(call)) < nth + 8);
        break;
      } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::out_of_memory);
      }
      REQUIRE(nth < 100);
    }
  }
  CHECK(left_over(before) == before);
}

TEST_SUITE("stress") {
  TEST_CASE("sizes change every call") {
    const auto fabric = open_sim(4);
    for (std::uint32_t i = 0; i < 50; ++i) {
      Vectors vectors(4, 1 + (i * 7919) % 60'000, i);
      REQUIRE_FALSE(sum_in_place(*fabric, vectors));
      REQUIRE(vectors.wrong() == 0);
    }
  }

  TEST_CASE("abort races with completion: one outcome for all, then recover") {
    const auto fabric = open_sim(3);
    for (int i = 0; i < 10; ++i) {
      Vectors vectors(3, 20'000, 1);
      const auto operation =
          collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, {});
      std::thread aborter([&] { fabric->abort("race"); });
      REQUIRE(operation->wait_until(soon()));
      aborter.join();
      const auto error = operation->error();
      if (!error) CHECK(vectors.wrong() == 0);
      fabric->recover();
    }
    Vectors again(3, 1000, 2);
    CHECK_FALSE(sum_in_place(*fabric, again));
    CHECK(again.wrong() == 0);
  }
}

}  // namespace
}  // namespace weft::testing
