// Streams and events as Python holds them, and other libraries' where one of weft's is taken.
//
// Invariants
//   1. A stream that is dropped loses nothing: what is on it still happens. The driver keeps what a
//      CUDA stream needs for that; on a simulated device the caller waits, without the GIL, for
//      works that each have a deadline.
//   2. No wait is without a deadline, and Ctrl-C ends it.
//   3. Streams and events do not survive fork(): the child is refused, and frees nothing.
//
// Thread safety: the GIL is held by every caller, and released in what waits, launches or destroys.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "core/base/unique.h"
#include "core/device/device.h"
#include "python/bind/bind.h"

namespace weft::python {

// What frees a handle, unless a fork() lies between: then it is the parent's.
struct DestroyStream {
  Device* device = nullptr;
  pid_t process = getpid();
  void operator()(Stream stream) const noexcept {
    if (process == getpid()) device->destroy_stream(stream);
  }
};
struct DestroyEvent {
  Device* device = nullptr;
  pid_t process = getpid();
  void operator()(Event event) const noexcept {
    if (process == getpid()) device->destroy_event(event);
  }
};
using OwnedStream = Unique<Stream, DestroyStream>;
using OwnedEvent = Unique<Event, DestroyEvent>;

inline OwnedEvent new_event(Device& device, bool timed = false) {
  return {timed ? device.create_timed_event() : device.create_event(), {&device}};
}

// InvalidArgument where a fork() lies between; `what` is the stream or event.
void check_process(pid_t process, const char* what);

class StreamObject {
 public:
  StreamObject(Device& device, StreamPriority priority) : device_(device) {
    const nb::gil_scoped_release released;
    stream_ = device.create_stream(priority);
    owned_ = OwnedStream(stream_, {&device});
  }
  // Another library's, for as long as the lender lives.
  StreamObject(Device& device, Stream stream, nb::handle lender)
      : device_(device), stream_(stream), lender_(nb::borrow(lender)) {}
  ~StreamObject() {
    const nb::gil_scoped_release released;
    owned_.reset();
  }
  StreamObject(const StreamObject&) = delete;
  StreamObject& operator=(const StreamObject&) = delete;

  DeviceId id() const { return device_.id(); }
  Device& device() const { return device_; }
  Stream get() const {
    check_process(process_, "stream");
    return stream_;
  }
  bool is(const StreamObject& other) const {
    return id() == other.id() && stream_.handle == other.stream_.handle;
  }

 private:
  Device& device_;
  Stream stream_{};
  OwnedStream owned_{};
  nb::object lender_{};
  pid_t process_ = getpid();
};

class EventObject {
 public:
  EventObject(Device& device, bool timed) : device_(device), timed_(timed) {
    const nb::gil_scoped_release released;
    event_ = new_event(device, timed);
  }

  DeviceId id() const { return device_.id(); }
  Device& device() const { return device_; }
  Event get() const {
    check_process(process_, "event");
    return event_.get();
  }
  bool timed() const { return timed_; }
  bool recorded() const { return recorded_.load(std::memory_order_relaxed); }
  void record(Stream stream) {
    const Event event = get();
    const nb::gil_scoped_release released;
    device_.record(event, stream);
    recorded_.store(true, std::memory_order_relaxed);
  }

 private:
  Device& device_;
  OwnedEvent event_{};
  bool timed_;
  std::atomic<bool> recorded_{false};  // a hint for errors: publishes nothing
  pid_t process_ = getpid();
};

// A stream, and the device that it is of.
struct LocatedStream {
  DeviceId device;
  Stream stream;
};

// A weft.Stream where it is; another library's on the CUDA device that it says it is of, or on
// `here`. Throws InvalidArgument for what is no stream, DeviceMismatch for one of another kind of
// device than `here`.
LocatedStream locate_stream(nb::handle object, DeviceId here);
// The same; None is CUDA's default stream, and InvalidArgument on simulated devices.
LocatedStream locate_or_default(nb::handle object, DeviceId here);
// The stream that an object stands for on just that device; DeviceMismatch for one of another.
Stream parse_stream(nb::handle object, DeviceId device);
// A weft.Event or, for CUDA, another library's, that a stream of `waits` can wait for. Nothing: it
// was never recorded. Throws what locate_stream throws.
std::optional<Event> parse_event(nb::handle object, DeviceId waits);

std::int64_t address_of(Stream stream);
// DeviceMismatch; `what` is the stream or event.
[[noreturn]] void refuse_device(const char* what, DeviceId is, DeviceId wanted);

// What comes next on `later` waits for what is on `earlier` now.
void order_after(const LocatedStream& later, const LocatedStream& earlier);
// Blocks, at most `timeout` seconds, None being WEFT_TIMEOUT; then CollectiveTimeout, whose message
// begins with `busy`.
void wait_for_event(Device& device, Event event, nb::handle timeout, const std::string& busy);

}  // namespace weft::python
