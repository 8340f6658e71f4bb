// What every device promises (core/device/device.h), over each kind that has streams here.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/device/fault/fault_device.h"
#include "core/device/sim/scheduler.h"

namespace weft {
namespace {

Device& named(const char* name) { return device(DeviceId::parse(name)); }

// Each device under test with a peer it can reach.
struct Pair {
  const char* what;
  Device* device;
  Device* peer;
};

std::vector<Pair> devices() {
  static FaultDevice decorated(named("sim:50"));
  std::vector<Pair> pairs = {{"sim", &named("sim:48"), &named("sim:49")},
                             {"fault(sim)", &decorated, &named("sim:51")}};
  if (device_count(DeviceKind::cuda) > 1) {
    pairs.push_back({"cuda", &named("cuda:0"), &named("cuda:1")});
  }
  return pairs;
}

Deadline soon() { return Deadline::after_ns(20'000'000'000); }

// A stream, an event and two buffers of host memory that the device can reach.
class Rig {
 public:
  static constexpr std::int64_t kBytes = 1 << 16;

  explicit Rig(Device& device) : device_(device) {
    stream = device.create_stream(StreamPriority::normal);
    event = device.create_event();
    host = static_cast<unsigned char*>(device.allocate_pinned(Bytes(kBytes)));
    memory = static_cast<unsigned char*>(device.allocate(Bytes(kBytes)));
  }
  ~Rig() {
    device_.destroy_stream(stream);
    device_.destroy_event(event);
    device_.deallocate_pinned(host);
    device_.deallocate(memory);
  }
  void finish() {
    device_.record(event, stream);
    REQUIRE(device_.synchronize(event, soon()));
  }

  Stream stream;
  Event event;
  unsigned char* host;
  unsigned char* memory;

 private:
  Device& device_;
};

TEST_CASE("what is copied in comes out again, in stream order") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Rig rig(*pair.device);
    for (int value = 1; value < 20; ++value) {
      std::memset(rig.host, value, Rig::kBytes);
      pair.device->copy(rig.stream, rig.memory, rig.host, Bytes(Rig::kBytes));
      rig.finish();
      std::memset(rig.host, 0, Rig::kBytes);
      pair.device->copy(rig.stream, rig.host, rig.memory, Bytes(Rig::kBytes));
      rig.finish();
      CHECK(rig.host[0] == value);
      CHECK(rig.host[Rig::kBytes - 1] == value);
    }
  }
}

TEST_CASE("a fill sets every byte it is given and no other, in stream order") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Rig rig(*pair.device);
    Device& device = *pair.device;
    std::memset(rig.host, 1, Rig::kBytes);
    device.copy(rig.stream, rig.memory, rig.host, Bytes(Rig::kBytes));
    device.fill(rig.stream, rig.memory + 3, 0xff, Bytes(1001));
    device.fill(rig.stream, rig.memory + 5, 7, Bytes(1));
    device.fill(rig.stream, rig.memory, 9, Bytes(0));
    rig.finish();
    std::memset(rig.host, 0, Rig::kBytes);
    device.copy(rig.stream, rig.host, rig.memory, Bytes(Rig::kBytes));
    rig.finish();
    for (std::int64_t i = 0; i < Rig::kBytes; ++i) {
      const int expected = i == 5 ? 7 : i >= 3 && i < 1004 ? 0xff : 1;
      REQUIRE(static_cast<int>(rig.host[i]) == expected);
    }
  }
}

TEST_CASE("a fill can be made to fail, and then changes nothing") {
  FaultDevice device(named("sim:57"));
  Rig rig(device);
  device.fill(rig.stream, rig.memory, 2, Bytes(Rig::kBytes));
  device.plan(DeviceCall::fill, 1, {ErrorCode::cuda_error, 0});
  CHECK_THROWS_AS(device.fill(rig.stream, rig.memory, 3, Bytes(Rig::kBytes)), Error);
  device.copy(rig.stream, rig.host, rig.memory, Bytes(Rig::kBytes));
  rig.finish();
  CHECK(rig.host[0] == 2);
  CHECK(device.calls(DeviceCall::fill) == 2);
}

TEST_CASE("pinned and shared memory start as zeros; zero bytes are null") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Device& device = *pair.device;
    CHECK(device.allocate(Bytes(0)) == nullptr);
    device.deallocate(nullptr);
    Rig rig(device);
    for (std::int64_t i = 0; i < Rig::kBytes; ++i) REQUIRE(rig.host[i] == 0);
    std::memset(rig.host, 7, Rig::kBytes);
    void* shared = device.allocate_shared(Bytes(Rig::kBytes));
    device.copy(rig.stream, rig.host, shared, Bytes(Rig::kBytes));
    rig.finish();
    for (std::int64_t i = 0; i < Rig::kBytes; ++i) REQUIRE(rig.host[i] == 0);
    device.deallocate_shared(shared);
  }
}

TEST_CASE("an event never recorded is done; one stream can wait for another") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Device& device = *pair.device;
    Rig first(device);
    Rig second(device);
    CHECK(device.query(first.event));
    CHECK(device.synchronize(first.event, Deadline::after_ns(0)));
    std::memset(first.host, 3, Rig::kBytes);
    device.copy(first.stream, first.memory, first.host, Bytes(Rig::kBytes));
    device.record(first.event, first.stream);
    device.wait(second.stream, first.event);
    device.copy(second.stream, second.host, first.memory, Bytes(Rig::kBytes));
    second.finish();
    CHECK(second.host[17] == 3);
  }
}

TEST_CASE("a stream is idle once what was put on it has happened, and as soon as that is known") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Rig rig(*pair.device);
    CHECK(pair.device->is_idle(rig.stream));
    for (int i = 0; i < 200; ++i) {
      pair.device->copy(rig.stream, rig.memory, rig.host, Bytes(Rig::kBytes));
      rig.finish();
      REQUIRE(pair.device->is_idle(rig.stream));
    }
  }
}

TEST_CASE("timed events tell how far apart they happened") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Device& device = *pair.device;
    Rig rig(device);
    const Event start = device.create_timed_event();
    const Event end = device.create_timed_event();
    device.record(start, rig.stream);
    rig.finish();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    device.record(end, rig.stream);
    rig.finish();
    CHECK(device.elapsed_us(start, end) >= 15'000);
    CHECK(device.elapsed_us(end, start) <= -15'000);
    device.destroy_event(start);
    device.destroy_event(end);
  }
}

TEST_CASE("memory has an owner; peers are reached after enable_peer") {
  for (const Pair& pair : devices()) {
    CAPTURE(pair.what);
    Rig mine(*pair.device);
    Rig theirs(*pair.peer);
    CHECK(pair.device->owner_of(mine.memory) == pair.device->id());
    CHECK(pair.device->owner_of(theirs.memory) == pair.peer->id());
    REQUIRE(pair.device->can_access(pair.peer->id()));
    pair.device->enable_peer(pair.peer->id());
    pair.device->enable_peer(pair.peer->id());
    CHECK_FALSE(pair.device->access_problem(theirs.memory, Bytes(Rig::kBytes)));
    std::memset(mine.host, 9, Rig::kBytes);
    pair.device->copy(mine.stream, theirs.memory, mine.host, Bytes(Rig::kBytes));
    mine.finish();
    pair.peer->copy(theirs.stream, theirs.host, theirs.memory, Bytes(Rig::kBytes));
    theirs.finish();
    CHECK(theirs.host[100] == 9);
  }
}

TEST_CASE("simulated: no access without enable_peer, none past the end") {
  Device& device = named("sim:52");
  Rig theirs(named("sim:53"));
  Rig mine(device);
  CHECK(device.access_problem(theirs.memory, Bytes(1)));
  CHECK_THROWS_AS(device.copy(mine.stream, mine.memory, theirs.memory, Bytes(1)), Error);
  CHECK_THROWS_AS(device.fill(mine.stream, theirs.memory, 0, Bytes(1)), Error);
  CHECK_THROWS_AS(device.fill(mine.stream, mine.memory + 1, 0, Bytes(Rig::kBytes)), Error);
  CHECK(device.access_problem(mine.memory + 1, Bytes(Rig::kBytes)));
  CHECK_FALSE(device.access_problem(mine.memory, Bytes(Rig::kBytes)));
  CHECK_FALSE(device.access_problem(mine.host, Bytes(Rig::kBytes)));
}

struct SleepParams {
  int milliseconds;
};
void sleep_work(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const SleepParams*>(params);
  std::this_thread::sleep_for(std::chrono::milliseconds(p.milliseconds));
}

TEST_CASE("simulated: a deadline ends a synchronize, and destroying a stream drops nothing") {
  Device& device = named("sim:54");
  Rig rig(device);
  const Stream stream = device.create_stream(StreamPriority::normal);
  device.submit(stream, Work::make("sleep", sleep_work, SleepParams{100}));
  device.record(rig.event, stream);
  CHECK_FALSE(device.query(rig.event));
  CHECK_FALSE(device.is_idle(stream));
  CHECK_FALSE(device.synchronize(rig.event, Deadline::after_ns(1'000'000)));
  device.destroy_stream(stream);
  CHECK(device.query(rig.event));
}

struct CountParams {
  std::atomic<int>* order;
  int* seen;
};
void count_work(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const CountParams*>(params);
  SimScheduler::yield_point();
  *p.seen = p.order->fetch_add(1, std::memory_order_relaxed);
}

struct GateParams {
  std::atomic<int>* begun;
  int streams;
};
// Ends once a work of each stream has begun: from then on all of them can be drawn.
void gate_work(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const GateParams*>(params);
  p.begun->fetch_add(1, std::memory_order_relaxed);
  SimScheduler::Wait wait;
  while (p.begun->load(std::memory_order_relaxed) < p.streams) wait.yield();
}

TEST_CASE(
    "simulated: a seed permutes the streams, and every work still runs in its stream's order") {
  bool differed = false;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimScheduler::seed(seed);
    std::vector<std::unique_ptr<Rig>> rigs;
    for (int i = 0; i < 3; ++i) rigs.push_back(std::make_unique<Rig>(named("sim:55")));
    std::atomic<int> order{0};
    std::atomic<int> begun{0};
    int seen[3][4];
    for (auto& rig : rigs) {
      named("sim:55").submit(rig->stream, Work::make("gate", gate_work, GateParams{&begun, 3}));
    }
    for (int k = 0; k < 4; ++k) {
      for (int i = 0; i < 3; ++i) {
        const auto n = static_cast<std::size_t>(i);
        named("sim:55").submit(rigs[n]->stream,
                               Work::make("count", count_work, CountParams{&order, &seen[i][k]}));
      }
    }
    for (auto& rig : rigs) rig->finish();
    for (auto& stream : seen) {
      for (int k = 1; k < 4; ++k) CHECK(stream[k - 1] < stream[k]);
    }
    differed = differed || seen[1][0] < seen[0][0] || seen[2][3] < seen[0][3];
    SimScheduler::seed(0);
  }
  CHECK(differed);
}

TEST_CASE("a planned fault strikes once, at its call, and reaches nothing") {
  FaultDevice device(named("sim:56"));
  Rig rig(device);
  device.plan(DeviceCall::allocate, 2, {ErrorCode::out_of_memory, 0});
  void* first = device.allocate(Bytes(64));
  CHECK_THROWS_AS(device.allocate(Bytes(64)), Error);
  void* third = device.allocate(Bytes(64));
  CHECK(first != nullptr);
  CHECK(third != nullptr);
  device.deallocate(first);
  device.deallocate(third);
  device.plan(DeviceCall::record, 1, {std::nullopt, 30'000'000});
  const std::int64_t start = now_ns();
  rig.finish();
  CHECK(now_ns() - start >= 30'000'000);
}

TEST_CASE("names of devices") {
  CHECK(DeviceId::parse("sim:3").str() == "sim:3");
  CHECK(DeviceId::parse("cuda").str() == "cuda:0");
  CHECK(DeviceId::parse("cpu").str() == "cpu");
  for (const char* bad : {"", "gpu:1", "sim:", "sim:-1", "sim:x", "sim:1x", "cuda:99999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(DeviceId::parse(bad), Error);
  }
  CHECK_THROWS_AS(named("sim:64"), Error);
  CHECK_THROWS_AS(named("cuda:99"), Error);
}

}  // namespace
}  // namespace weft
