// Graphs that callers capture among a fabric's other operations, on devices that only keep account
// of what follows what.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>

#include "fabric/fabric.h"

namespace weft::fabric {
namespace {

// A stream or an event, and the works that it is behind.
struct Line {
  std::set<int> behind{};
  std::atomic<bool> busy{false};  // of an event: not there yet
  bool capturing = false;
  bool follows_default = false;
  const char* problem = nullptr;
};

Line& line(void* handle) { return *static_cast<Line*>(handle); }

// Works are numbers, and are done at once.
class Account final : public Device {
 public:
  explicit Account(int ordinal) : ordinal_(ordinal) {}

  DeviceId id() const override { return {DeviceKind::cuda, DeviceOrdinal(ordinal_)}; }
  std::string name() const override { return "account"; }
  void* allocate(Bytes bytes) override {
    return std::calloc(1, static_cast<std::size_t>(bytes.value()));
  }
  void deallocate(void* memory) noexcept override { std::free(memory); }
  void* allocate_shared(Bytes bytes) override { return allocate(bytes); }
  void deallocate_shared(void* memory) noexcept override { std::free(memory); }
  void* allocate_pinned(Bytes bytes) override { return allocate(bytes); }
  void deallocate_pinned(void* memory) noexcept override { std::free(memory); }
  Stream create_stream(StreamPriority) override { return {new Line}; }
  void destroy_stream(Stream stream) noexcept override { delete static_cast<Line*>(stream.handle); }
  bool is_idle(Stream) override { return true; }
  Event create_event() override { return {new Line}; }
  void destroy_event(Event event) noexcept override { delete static_cast<Line*>(event.handle); }

  void submit(Stream stream, const Work& work) override {
    line(stream.handle).behind.insert(number_of(work));
    if (!line(stream.handle).capturing) submitted.push_back(stream.handle);
  }
  void copy(Stream, void* to, const void* from, Bytes bytes) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes.value()));
  }
  void fill(Stream, void* to, std::uint8_t value, Bytes bytes) override {
    std::memset(to, value, static_cast<std::size_t>(bytes.value()));
  }
  void record(Event event, Stream stream) override {
    line(event.handle).behind = line(stream.handle).behind;
  }
  void wait(Stream stream, Event event) override {
    line(stream.handle)
        .behind.insert(line(event.handle).behind.begin(), line(event.handle).behind.end());
  }
  bool query(Event event) override { return !line(event.handle).busy; }
  bool synchronize(Event event, Deadline deadline) override {
    while (!query(event)) {
      if (deadline.passed()) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool is_capturing(Stream stream) override { return line(stream.handle).capturing; }
  void enter_capture(Stream, CaptureLink& link) override { captured = link.event; }
  void leave_capture(Stream, CaptureLink&) override {}
  std::optional<std::string> stream_problem(Stream stream) const override {
    ++asked;
    const char* problem = line(stream.handle).problem;
    return problem ? std::optional<std::string>(problem) : std::nullopt;
  }
  bool follows_default_stream(Stream stream) const override {
    return line(stream.handle).follows_default;
  }
  bool can_access(DeviceId) const override { return true; }
  void enable_peer(DeviceId) override {}
  std::optional<std::string> access_problem(const void*, Bytes) const override { return {}; }
  std::optional<DeviceId> owner_of(const void*) const override { return id(); }

  static Work work(int number) { return Work::make("account", nothing, number); }

  std::vector<void*> submitted{};  // the streams of works that were not captured
  Event captured{};                // what graphs wait for when they run, and record
  mutable int asked = 0;           // for a stream's problems

 private:
  static void nothing(const WorkContext&, const void*) {}
  static int number_of(const Work& work) {
    int number = 0;
    std::memcpy(&number, work.params.data(), sizeof(number));
    return number;
  }

  int ordinal_;
};

// Two ranks, with a stream each of their own and one of their caller's.
struct Rig {
  explicit Rig(int second) : devices{Account(0), Account(second)} {
    FabricOptions options;
    for (std::size_t r = 0; r < 2; ++r) {
      options.devices.push_back(&devices[second == 0 ? 0 : r]);
    }
    options.topology = topology::preset("hgx-h200", second == 0 ? 1 : 2);
    options.timeout_seconds = 5;
    options.scratch = Bytes(1 << 16);
    fabric = Fabric::open(std::move(options));
    for (std::size_t r = 0; r < 2; ++r) {
      streams.push_back(fabric->device(Rank(static_cast<int>(r))).create_stream({}));
    }
  }
  ~Rig() {
    fabric->close();
    for (const Stream stream : streams) devices[0].destroy_stream(stream);
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  // Rank r's work is number `number` + r.
  std::shared_ptr<Operation> launch(int number) {
    return fabric->launch(
        [&](Operation& operation) {
          for (int r = 0; r < 2; ++r) {
            operation.works()[static_cast<std::size_t>(r)] = Account::work(number + r);
          }
        },
        streams);
  }
  void capture(int number) {
    for (const Stream stream : streams) line(stream.handle).capturing = true;
    launch(number);
    for (const Stream stream : streams) line(stream.handle).capturing = false;
  }

  std::array<Account, 2> devices;
  std::shared_ptr<Fabric> fabric{};
  std::vector<Stream> streams{};
};

ErrorCode code_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::internal;
}

TEST_CASE("the first graph that is captured follows what was launched before") {
  Rig rig(1);
  rig.launch(10);
  rig.capture(20);
  for (int r = 0; r < 2; ++r) {
    const Account& device = rig.devices[static_cast<std::size_t>(r)];
    REQUIRE(device.captured.handle);
    CHECK(line(device.captured.handle).behind.contains(10 + r));
  }
}

TEST_CASE("a first capture that is refused leaves no operation out of what graphs follow") {
  Rig rig(1);
  for (const Stream stream : rig.streams) line(stream.handle).capturing = true;
  const auto refuse = [](Operation&) { fail(ErrorCode::alias, "refused"); };
  CHECK(code_of([&] { rig.fabric->launch(refuse, rig.streams); }) == ErrorCode::alias);
  for (const Stream stream : rig.streams) line(stream.handle).capturing = false;
  rig.launch(10);
  rig.capture(20);
  CHECK(line(rig.devices[0].captured.handle).behind.contains(10));
}

TEST_CASE("recover and close wait for graphs that callers launched") {
  for (const bool close : {false, true}) {
    Rig rig(1);
    rig.capture(20);
    rig.fabric->abort("test");
    Line& graph = line(rig.devices[1].captured.handle);
    graph.busy = true;
    std::atomic<bool> ended{false};
    std::thread end([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      ended = true;
      graph.busy = false;
    });
    close ? rig.fabric->close() : rig.fabric->recover();
    CHECK(ended);
    end.join();
  }
}

TEST_CASE("a fault of a captured graph comes to light though nobody calls") {
  Rig rig(1);
  rig.capture(20);
  rig.fabric->check();
  const WaitLimits limits{1'000'000, rig.fabric->abort_flag(), 0};
  Waiter(Rank(1), limits, rig.fabric->fault_record(Rank(1), 0)).leave(Outcome::timeout, Step(3));
  std::atomic_ref(*rig.fabric->abort_flag()).store(1, std::memory_order_relaxed);
  const auto failed = [&] { return rig.fabric->stats().snapshot().failed; };
  const Deadline deadline = Deadline::after_ns(5'000'000'000);
  while (failed() == 0 && !deadline.passed()) std::this_thread::yield();
  CHECK(failed() == 1);
  CHECK(code_of([&] { rig.fabric->check(); }) == ErrorCode::fabric_poisoned);
  CHECK(failed() == 1);
  rig.fabric->recover();
  rig.fabric->check();
  rig.fabric->close();
  CHECK(code_of([&] { rig.fabric->check(); }) == ErrorCode::fabric_closed);
  CHECK(code_of([&] { rig.launch(30); }) == ErrorCode::fabric_closed);
}

TEST_CASE("ranks of one device go onto their caller's streams only if these never wait") {
  for (const bool follows : {false, true}) {
    Rig rig(0);
    line(rig.streams[1].handle).follows_default = follows;
    rig.launch(10);
    const std::vector<void*>& on = rig.devices[0].submitted;
    REQUIRE(on.size() == 2);
    for (std::size_t r = 0; r < 2; ++r) CHECK((on[r] == rig.streams[r].handle) == !follows);
    // In either case what comes next there follows.
    CHECK(line(rig.streams[1].handle).behind.contains(11));
  }
}

TEST_CASE("a stream with a problem is refused and names the rank; a good one is asked about once") {
  Rig rig(1);
  for (int i = 0; i < 3; ++i) rig.fabric->check_streams(rig.streams);
  CHECK(rig.devices[1].asked == 1);
  Line bad;
  bad.problem = "it is another's";
  try {
    rig.fabric->check_stream(Rank(1), {&bad});
    FAIL("it should be refused");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK(error.context().rank == 1);
    CHECK(error.message().find("rank 1's stream: it is another's") != std::string::npos);
  }
}

TEST_CASE("launches that block are refused before anything is opened") {
  const char* name = "CUDA_LAUNCH_BLOCKING";
  for (const char* value : {"1", "0"}) {
    setenv(name, value, 1);
    const ErrorCode code = code_of([] { const Rig rig(1); });
    CHECK(code == (std::strcmp(value, "1") == 0 ? ErrorCode::config : ErrorCode::internal));
  }
  unsetenv(name);
}

}  // namespace
}  // namespace weft::fabric
