// The wait: arrival, deadline, abort, wrap.
#include <doctest/doctest.h>

#include <thread>

#include "fabric/signal.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kShort = 20'000'000;  // ns
constexpr std::int64_t kLong = 20'000'000'000;

struct Bench {
  std::uint32_t word = 0;
  std::uint32_t abort_flag = 0;
  FaultRecord record;
  Waiter waiter(std::int64_t timeout_ns) {
    return Waiter(Rank(1), {timeout_ns, &abort_flag, 9}, &record);
  }
};

Waiter::Goal goal(std::uint32_t base, std::uint32_t count) {
  return {Awaited::data, Rank(0), Step(3), Epoch(base), count};
}

TEST_CASE("epochs compare by signed distance") {
  static_assert(Epoch(5).reached(Epoch(5)));
  static_assert(!Epoch(4).reached(Epoch(5)));
  static_assert(Epoch(3).reached(Epoch(0xfffffff0u)));
  static_assert(!Epoch(0xfffffff0u).reached(Epoch(3)));
  static_assert((Epoch(0xffffffffu) + 2) == Epoch(1));
}

TEST_CASE("what was published before the signal is visible after the wait") {
  Bench bench;
  int payload = 0;
  std::thread sender([&] {
    payload = 42;
    publish(bench.word, Epoch(1));
  });
  Waiter waiter = bench.waiter(kLong);
  CHECK(waiter.wait(bench.word, goal(0, 1)));
  CHECK(payload == 42);
  sender.join();
  CHECK(bench.record.outcome == Outcome::ok);
}

TEST_CASE("a wait across the 2^32 wrap") {
  Bench bench;
  bench.word = 0xfffffffeu;
  std::thread sender([&] { publish(bench.word, Epoch(0xfffffffeu) + 4); });
  Waiter waiter = bench.waiter(kLong);
  CHECK(waiter.wait(bench.word, goal(0xfffffffeu, 4)));
  sender.join();
}

TEST_CASE("the deadline: a record that says who waited for what, and the flag for the others") {
  Bench bench;
  bench.word = 7;
  Waiter waiter = bench.waiter(kShort);
  CHECK_FALSE(waiter.wait(bench.word, goal(5, 4)));
  CHECK(bench.record.outcome == Outcome::timeout);
  CHECK(bench.record.rank == 1);
  CHECK(bench.record.peer == 0);
  CHECK(bench.record.step == 3);
  CHECK(bench.record.expected == 4);
  CHECK(bench.record.seen == 2);
  CHECK(bench.record.operation == 9);
  CHECK(bench.abort_flag == 1);
}

TEST_CASE("the deadline counts from the first wait, not from the start of the operation") {
  Bench bench;
  Waiter waiter = bench.waiter(kShort);
  std::this_thread::sleep_for(std::chrono::nanoseconds(2 * kShort));
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::nanoseconds(kShort / 10));
    publish(bench.word, Epoch(1));
  });
  CHECK(waiter.wait(bench.word, goal(0, 1)));
  sender.join();
}

TEST_CASE("abort ends a wait, and the first record stays") {
  Bench bench;
  std::thread aborter(
      [&] { std::atomic_ref(bench.abort_flag).store(1, std::memory_order_relaxed); });
  Waiter waiter = bench.waiter(kLong);
  CHECK_FALSE(waiter.wait(bench.word, goal(0, 1)));
  aborter.join();
  CHECK(bench.record.outcome == Outcome::aborted);
  CHECK_FALSE(waiter.may_go_on(Step(8)));
  CHECK(bench.record.step == 3);
}

}  // namespace
}  // namespace weft::fabric
