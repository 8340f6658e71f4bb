// A device that fails, or is late, when told to: a decorator around any other.
//
// plan(call, nth, action) arms one fault: the nth such call from now on (1 is the next) throws an
// Error of the given code before it reaches the inner device, or reaches it late. Everything else
// passes through. With it, nearly every row of the fault matrix runs on a machine without a GPU.
// lie_about() makes a peer whose memory seems accessible and is not, as behind an IOMMU that lets
// no peer's accesses through.
//
// Invariants
//   1. A failed call has not reached the inner device, so nothing is left behind by it.
//   2. Calls that give something back (deallocate, destroy) never fail.
//
// Thread safety: any thread; the count of calls is one for all threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/base/mutex.h"
#include "core/device/device.h"

namespace weft {

enum class DeviceCall : std::uint8_t {
  allocate,
  allocate_shared,
  allocate_pinned,
  create_stream,
  create_event,
  submit,
  copy,
  fill,
  record,
  wait,
  query,
  synchronize,
  enable_peer,
  begin_capture,
  launch
};
inline constexpr int kDeviceCalls = 15;
const char* name(DeviceCall call);

class FaultDevice final : public Device {
 public:
  struct Action {
    std::optional<ErrorCode> fails_with;  // nothing: only late
    std::int64_t delay_ns = 0;
    bool throws_bad_alloc = false;  // instead: the host has no memory left
  };

  explicit FaultDevice(Device& inner) : inner_(inner) {}

  void plan(DeviceCall call, std::int64_t nth, Action action);
  void clear();
  // From now on calls of this kind (copy or submit) that name memory of the peer's succeed and do
  // nothing, until clear(). A work names what its parameters point to.
  void lie_about(DeviceId peer, DeviceCall call);
  std::int64_t calls(DeviceCall call) const;  // so far

  DeviceId id() const override { return inner_.id(); }
  std::string name() const override { return inner_.name(); }
  std::int32_t generation() const override { return inner_.generation(); }
  void* allocate(Bytes bytes) override;
  void deallocate(void* memory) noexcept override { inner_.deallocate(memory); }
  void* allocate_shared(Bytes bytes) override;
  void deallocate_shared(void* memory) noexcept override { inner_.deallocate_shared(memory); }
  void* allocate_pinned(Bytes bytes) override;
  void deallocate_pinned(void* memory) noexcept override { inner_.deallocate_pinned(memory); }
  Stream create_stream(StreamPriority priority) override;
  void destroy_stream(Stream stream) noexcept override { inner_.destroy_stream(stream); }
  bool is_idle(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) noexcept override { inner_.destroy_event(event); }
  Event create_timed_event() override;
  double elapsed_us(Event start, Event end) override { return inner_.elapsed_us(start, end); }
  bool has_graphs() const override { return inner_.has_graphs(); }
  bool is_capturing(Stream stream) override { return inner_.is_capturing(stream); }
  void begin_capture(Stream stream) override;
  DeviceGraph end_capture(Stream stream) override { return inner_.end_capture(stream); }
  void keep_with_capture(Stream stream, std::shared_ptr<void> thing) override {
    inner_.keep_with_capture(stream, std::move(thing));
  }
  void enter_capture(Stream stream, CaptureLink& link) override {
    inner_.enter_capture(stream, link);
  }
  void leave_capture(Stream stream, CaptureLink& link) override {
    inner_.leave_capture(stream, link);
  }
  std::uint64_t id_of(Stream stream) override { return inner_.id_of(stream); }
  std::optional<std::string> stream_problem(Stream stream) const override {
    return inner_.stream_problem(stream);
  }
  bool follows_default_stream(Stream stream) const override {
    return inner_.follows_default_stream(stream);
  }
  void launch(Stream stream, DeviceGraph graph) override;
  void destroy_graph(DeviceGraph graph) noexcept override { inner_.destroy_graph(graph); }
  void enter() override { inner_.enter(); }
  void leave() noexcept override { inner_.leave(); }
  void submit(Stream stream, const Work& work) override;
  void copy(Stream stream, void* to, const void* from, Bytes bytes) override;
  void fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) override;
  void record(Event event, Stream stream) override;
  void wait(Stream stream, Event event) override;
  bool query(Event event) override;
  bool synchronize(Event event, Deadline deadline) override;
  bool can_access(DeviceId peer) const override { return inner_.can_access(peer); }
  void enable_peer(DeviceId peer) override;
  std::optional<std::string> access_problem(const void* memory, Bytes bytes) const override {
    return inner_.access_problem(memory, bytes);
  }
  std::optional<std::string> make_reachable(const void* memory, Bytes bytes) override {
    return inner_.make_reachable(memory, bytes);
  }
  Allocation allocation_of(const void* memory) const override {
    return inner_.allocation_of(memory);
  }
  std::optional<DeviceId> owner_of(const void* memory) const override {
    return inner_.owner_of(memory);
  }

 private:
  struct Armed {
    DeviceCall call;
    std::int64_t at;  // the count at which it strikes
    Action action;
  };
  struct Lie {
    DeviceId peer;
    DeviceCall call;
  };
  void before(DeviceCall call);
  // Whether such a call is dropped.
  bool lies(DeviceCall call, std::span<const void* const> memory) const;

  Device& inner_;
  mutable Mutex mutex_;
  std::array<std::int64_t, kDeviceCalls> counts_ WEFT_THREAD_SAFETY(guarded_by(mutex_)){};
  std::optional<Armed> armed_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::vector<Lie> told_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft
