// The event ring: exact accounting, and no torn record whoever writes and reads at once.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "core/base/event_ring.h"

namespace weft {
namespace {

constexpr std::uint64_t kCapacity = EventRing::kCapacity;

// An event all of whose fields follow from one number, so that a mixture of two events shows.
EventRecord made_of(std::uint64_t number) {
  EventRecord event;
  event.op_id = number;
  event.bytes = static_cast<std::int64_t>(number * 3);
  event.t_enqueue_ns = static_cast<std::int64_t>(number * 5);
  event.t_end_ns = static_cast<std::int64_t>(number * 7);
  event.stream = ~number;
  event.rank = static_cast<std::int32_t>(number % 1009);
  event.culprit = static_cast<std::int32_t>(number % 31);
  std::memcpy(event.algorithm, &number, sizeof(number));
  event.kind = static_cast<EventKind>(number % 11);
  std::memcpy(event.reserved, &number, sizeof(number));
  return event;
}

bool whole(const EventRecord& event) {
  EventRecord expected = made_of(event.op_id);
  expected.seq = event.seq;
  return std::memcmp(&event, &expected, sizeof(event)) == 0;
}

// How many records of a snapshot break its promises.
int violations(const EventRing::Snapshot& snapshot) {
  int wrong = snapshot.events.size() == snapshot.next_seq - snapshot.base_seq ? 0 : 1;
  wrong += snapshot.events.size() <= kCapacity ? 0 : 1;
  std::uint64_t seq = snapshot.base_seq;
  for (const EventRecord& event : snapshot.events)
    wrong += event.seq == seq++ && whole(event) ? 0 : 1;
  return wrong;
}

struct Load {
  int writers = 0;
  std::uint64_t events = 0;  // of one writer
  int readers = 0;
};

// Runs the load; returns violations seen by the readers while it ran. Each writer's events must
// show in the order in which it wrote them.
int run(EventRing& ring, const Load& load) {
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < load.readers; ++i) {
    readers.emplace_back([&] {
      std::uint64_t next = 0;
      std::uint64_t base = 0;
      while (!stop.load()) {
        const EventRing::Snapshot snapshot = ring.snapshot();
        wrong += violations(snapshot) + (snapshot.base_seq < base ? 1 : 0);
        wrong += snapshot.next_seq + kCapacity < next ? 1 : 0;
        base = snapshot.base_seq;
        next = snapshot.next_seq;
      }
    });
  }
  std::vector<std::thread> writers;
  for (int w = 0; w < load.writers; ++w) {
    writers.emplace_back([&ring, &load, w] {
      for (std::uint64_t i = 0; i < load.events; ++i) {
        ring.record(made_of(static_cast<std::uint64_t>(w) * load.events + i));
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  return wrong;
}

// After all writers ended: the last kCapacity events, each writer's in its order and at most once.
void check_end(const EventRing& ring, const Load& load) {
  const std::uint64_t total = static_cast<std::uint64_t>(load.writers) * load.events;
  const EventRing::Snapshot snapshot = ring.snapshot();
  CHECK(violations(snapshot) == 0);
  CHECK(snapshot.next_seq == total);
  CHECK(snapshot.base_seq == (total > kCapacity ? total - kCapacity : 0));
  std::vector<std::int64_t> last(static_cast<std::size_t>(load.writers), -1);
  int disorder = 0;
  for (const EventRecord& event : snapshot.events) {
    const std::size_t writer = event.op_id / load.events;
    const auto index = static_cast<std::int64_t>(event.op_id % load.events);
    disorder += writer < last.size() && index > last[writer] ? 0 : 1;
    if (writer < last.size()) last[writer] = index;
  }
  CHECK(disorder == 0);
}

}  // namespace

TEST_CASE("a new ring is empty") {
  const auto ring = std::make_unique<EventRing>();
  const EventRing::Snapshot snapshot = ring->snapshot();
  CHECK(snapshot.events.empty());
  CHECK(snapshot.base_seq == 0);
  CHECK(snapshot.next_seq == 0);
}

TEST_CASE("events come back in order, numbered from 0, whatever seq they were given") {
  const auto ring = std::make_unique<EventRing>();
  for (std::uint64_t i = 0; i < 100; ++i) {
    EventRecord event = made_of(i);
    event.seq = 12345;
    ring->record(event);
  }
  const EventRing::Snapshot snapshot = ring->snapshot();
  CHECK(violations(snapshot) == 0);
  REQUIRE(snapshot.events.size() == 100);
  for (std::uint64_t i = 0; i < 100; ++i) CHECK(snapshot.events[i].op_id == i);
}

TEST_CASE("the oldest events are dropped, and counted exactly") {
  for (const std::uint64_t total : {kCapacity - 1, kCapacity, kCapacity + 1, 3 * kCapacity + 7}) {
    CAPTURE(total);
    const auto ring = std::make_unique<EventRing>();
    for (std::uint64_t i = 0; i < total; ++i) ring->record(made_of(i));
    const EventRing::Snapshot snapshot = ring->snapshot();
    CHECK(violations(snapshot) == 0);
    CHECK(snapshot.next_seq == total);
    CHECK(snapshot.base_seq == (total > kCapacity ? total - kCapacity : 0));
    CHECK(snapshot.events.front().op_id == snapshot.base_seq);
    CHECK(snapshot.events.back().op_id == total - 1);
  }
}

TEST_CASE("reading takes nothing away") {
  const auto ring = std::make_unique<EventRing>();
  ring->record(made_of(1));
  CHECK(ring->snapshot().events.size() == 1);
  CHECK(ring->snapshot().events.size() == 1);
}

TEST_CASE("16 writers of 1,000,000 events: recorded is kept and dropped, exactly" *
          doctest::test_suite("slow")) {
  EventRing ring;
  const Load load{.writers = 16, .events = 1'000'000, .readers = 1};
  CHECK(run(ring, load) == 0);
  check_end(ring, load);
  CHECK(ring.recorded() == 16'000'000);
}

TEST_CASE("16 writers of 100,000 events and 2 readers: nothing torn, lost or counted twice") {
  const auto ring = std::make_unique<EventRing>();
  const Load load{.writers = 16, .events = 100'000, .readers = 2};
  CHECK(run(*ring, load) == 0);
  check_end(*ring, load);
}

TEST_SUITE("stress") {
  TEST_CASE("writers that lap one another, with a reader, many times over") {
    const auto ring = std::make_unique<EventRing>();
    const Load load{.writers = 8, .events = 20'000, .readers = 1};
    CHECK(run(*ring, load) == 0);
    check_end(*ring, load);
  }
}

}  // namespace weft
