// One interface to a device: memory, streams, events, copies, peers.
//
// Three implementations: SimDevice (core/device/sim, runs works on threads of this process),
// CudaDevice (core/device/cuda) and FaultDevice (core/device/fault, decorates either and makes
// chosen calls fail or wait). Nothing above core knows which one it holds.
//
// Invariants
//   1. All device work enters through submit(). A Work is a function and plain data, so it can be
//      run again: a captured graph is a list of works.
//   2. Works, copies and event records on one stream happen in the order they were issued; two
//      streams are ordered only by record() and wait().
//   3. A call that throws has changed nothing. destroy_* and deallocate never throw.
//   4. Devices are process-wide and never destroyed; streams and events belong to who created them.
//
// Thread safety: every method may be called from any thread at any time, except that one stream's
// or event's destruction must not race with its use.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/base/clock.h"
#include "core/base/types.h"

namespace weft {

enum class DeviceKind : std::uint8_t { cpu, sim, cuda };

const char* kind_name(DeviceKind kind);  // "cpu", "sim", "cuda"

struct DeviceId {
  DeviceKind kind = DeviceKind::cpu;
  DeviceOrdinal ordinal{};
  friend constexpr bool operator==(const DeviceId&, const DeviceId&) = default;
  std::string str() const;  // "cpu", "sim:3", "cuda:0"
  // Parses what str() writes; "cuda" and "sim" mean ordinal 0. Throws InvalidArgument.
  static DeviceId parse(std::string_view text);
};

class Device;

// Opaque to everyone but the device that made it.
struct Stream {
  void* handle = nullptr;
};
struct Event {
  void* handle = nullptr;
};
// What was recorded of a stream, ready to be launched.
struct DeviceGraph {
  void* handle = nullptr;
};

enum class StreamPriority : std::uint8_t { normal, high };

// Where a work runs. On a simulated device run() is the work; on CUDA run() enqueues kernels on
// `native_stream` (a cudaStream_t) and returns at once.
struct WorkContext {
  Device* device = nullptr;
  void* native_stream = nullptr;
};

// A function and up to kParamBytes of plain data, copied by value and re-runnable.
struct Work {
  static constexpr std::size_t kParamBytes = 256;
  using Function = void (*)(const WorkContext& context, const void* params);

  Function run = nullptr;
  const char* name = "";  // a literal
  alignas(16) std::array<std::byte, kParamBytes> params{};

  template <class Params>
  static Work make(const char* name, Function run, const Params& params) {
    static_assert(std::is_trivially_copyable_v<Params> && sizeof(Params) <= kParamBytes);
    Work work;
    work.run = run;
    work.name = name;
    std::memcpy(work.params.data(), &params, sizeof(Params));
    return work;
  }
};

// What ties the works of one rank that callers capture into graphs of theirs to each other and to
// the rank's other operations. Whenever such a graph runs, the first work waits for what the event
// last recorded, the others follow one another whatever streams they are captured on, and the event
// is recorded after the last.
struct CaptureLink {
  Event event{};
  std::uint64_t capture = 0;  // the one that is under way, or was last
  std::vector<void*> last{};  // its nodes that the next work follows
  void* end = nullptr;        // its node that records the event
};

class Device {
 public:
  virtual ~Device() = default;

  virtual DeviceId id() const = 0;
  virtual std::string name() const = 0;  // "NVIDIA H200", "simulated device"
  // Of a GPU its compute capability as in sm_90: 90. Else 0.
  virtual std::int32_t generation() const { return 0; }

  // Device memory, aligned to 256 bytes, uninitialised. Throws OutOfMemory. Zero bytes give null.
  virtual void* allocate(Bytes bytes) = 0;
  virtual void deallocate(void* memory) noexcept = 0;
  // Device memory that every device named by enable_peer() can reach, zeroed: for signals, scratch.
  virtual void* allocate_shared(Bytes bytes) = 0;
  virtual void deallocate_shared(void* memory) noexcept = 0;
  // Host memory that this and every other device of its kind can read and write, zeroed.
  virtual void* allocate_pinned(Bytes bytes) = 0;
  virtual void deallocate_pinned(void* memory) noexcept = 0;

  virtual Stream create_stream(StreamPriority priority) = 0;
  virtual void destroy_stream(Stream stream) noexcept = 0;
  // Has everything that was put on it happened? Not while it is being captured.
  virtual bool is_idle(Stream stream) = 0;
  virtual Event create_event() = 0;
  virtual void destroy_event(Event event) noexcept = 0;

  // Between the two, calls on this thread need not make this device the current one each: see
  // DeviceScope.
  virtual void enter() {}
  virtual void leave() noexcept {}

  // Which stream it is, for as long as the process lives: handles come back after a stream's end.
  virtual std::uint64_t id_of(Stream stream) {
    return reinterpret_cast<std::uintptr_t>(stream.handle);
  }
  // Why operations cannot be put on it; nothing if they can.
  virtual std::optional<std::string> stream_problem(Stream) const { return std::nullopt; }

  virtual void submit(Stream stream, const Work& work) = 0;
  // Bytes between any two places this device can reach, in stream order.
  virtual void copy(Stream stream, void* to, const void* from, Bytes bytes) = 0;
  // Every byte of memory this device can reach becomes `value`, in stream order.
  virtual void fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) = 0;
  virtual void record(Event event, Stream stream) = 0;
  virtual void wait(Stream stream, Event event) = 0;
  // An event that knows when it happened, and the microseconds from one such to a later one, by the
  // device's clock; a simulated device's is the host's.
  virtual Event create_timed_event() { return create_event(); }
  virtual double elapsed_us(Event start, Event end);

  // Graphs, on devices that have them (CUDA): what this thread issues on a stream between the two
  // calls is recorded and not done; what joins it by record() and wait() is part of it.
  virtual bool has_graphs() const { return false; }
  virtual bool is_capturing(Stream) { return false; }
  virtual void begin_capture(Stream stream);
  virtual DeviceGraph end_capture(Stream stream);
  // The graph that is being recorded, and all that is made from it, keeps this. Its end may come on
  // any thread, and must not call the device.
  virtual void keep_with_capture(Stream stream, std::shared_ptr<void> thing);
  // Around a work of the link's rank that is captured on the stream.
  virtual void enter_capture(Stream stream, CaptureLink& link);
  virtual void leave_capture(Stream stream, CaptureLink& link);
  virtual void launch(Stream stream, DeviceGraph graph);
  virtual void destroy_graph(DeviceGraph) noexcept {}
  // Has everything before the last record() happened? An event never recorded is done.
  virtual bool query(Event event) = 0;
  // Blocks the calling thread; false if the deadline came first.
  virtual bool synchronize(Event event, Deadline deadline) = 0;

  // Peers. enable_peer is idempotent; it throws PeerAccessError where can_access is false.
  virtual bool can_access(DeviceId peer) const = 0;
  virtual void enable_peer(DeviceId peer) = 0;
  // May this device touch [memory, memory + bytes) now? Nothing, if it may; else the reason.
  virtual std::optional<std::string> access_problem(const void* memory, Bytes bytes) const = 0;
  // The same, once this device was given access where a memory pool or a mapping had kept it out.
  virtual std::optional<std::string> make_reachable(const void* memory, Bytes bytes) {
    return access_problem(memory, bytes);
  }
  // The allocation of this device's that holds this byte; empty where that is not known.
  virtual std::span<const std::byte> allocation_of(const void*) const { return {}; }
  // The device whose memory this is, if it belongs to one of this kind.
  virtual std::optional<DeviceId> owner_of(const void* memory) const = 0;
};

// Several calls to one device in a row, which cost less than each alone. Other devices may be
// called meanwhile; other libraries may not.
class DeviceScope {
 public:
  explicit DeviceScope(Device& device) : device_(device) { device_.enter(); }
  ~DeviceScope() { device_.leave(); }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  Device& device_;
};

// The process-wide device of that name. Throws InvalidArgument, naming what there is, for one that
// does not exist. "cpu" is plain host memory: allocate and deallocate work, streams do not.
Device& device(DeviceId id);
// How many there are: 64 simulated ones always, CUDA ones as the driver says (0 without a driver).
int device_count(DeviceKind kind);

inline constexpr int kMaxSimDevices = 64;

}  // namespace weft
