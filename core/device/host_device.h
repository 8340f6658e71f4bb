// Plain host memory as a device: allocation and copies, no streams, no peers.
//
// Thread safety: any thread.
#pragma once

#include "core/device/device.h"

namespace weft {

class HostDevice final : public Device {
 public:
  DeviceId id() const override { return {DeviceKind::cpu, DeviceOrdinal(0)}; }
  std::string name() const override { return "host memory"; }

  void* allocate(Bytes bytes) override;
  void deallocate(void* memory) noexcept override;
  void* allocate_shared(Bytes bytes) override;
  void deallocate_shared(void* memory) noexcept override { deallocate(memory); }
  void* allocate_pinned(Bytes bytes) override { return allocate_shared(bytes); }
  void deallocate_pinned(void* memory) noexcept override { deallocate(memory); }

  Stream create_stream(StreamPriority) override;
  void destroy_stream(Stream) noexcept override {}
  bool is_idle(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event) noexcept override {}
  void submit(Stream, const Work&) override;
  void copy(Stream, void* to, const void* from, Bytes bytes) override;
  void fill(Stream, void* to, std::uint8_t value, Bytes bytes) override;
  void record(Event, Stream) override;
  void wait(Stream, Event) override;
  bool query(Event) override;
  bool synchronize(Event, Deadline) override;

  bool can_access(DeviceId peer) const override { return peer.kind == DeviceKind::cpu; }
  void enable_peer(DeviceId peer) override;
  std::optional<std::string> access_problem(const void*, Bytes) const override { return {}; }
  std::optional<DeviceId> owner_of(const void*) const override { return {}; }
};

}  // namespace weft
