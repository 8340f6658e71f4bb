// A simulated device: memory in this process, streams that are threads, peer access that is
// enforced.
//
// Not a test double: it is what runs where there is no GPU. Its ranks are real threads over real
// memory, so ThreadSanitizer checks the protocols that run on it. How long an operation would take
// on the machine it stands for is predicted from the schedule and the topology
// (collectives/schedule/predict); core knows no topology.
//
// Invariants
//   1. A copy, a fill or an access by a work is checked: memory of another simulated device needs
//      enable_peer.
//   2. Host memory is always accessible: it was lent for a call.
//
// Thread safety: any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/device/device.h"

namespace weft {

class SimDevice final : public Device {
 public:
  explicit SimDevice(DeviceOrdinal ordinal);

  DeviceId id() const override { return {DeviceKind::sim, ordinal_}; }
  std::string name() const override { return "simulated device"; }

  void* allocate(Bytes bytes) override;
  void deallocate(void* memory) noexcept override;
  void* allocate_shared(Bytes bytes) override;
  void deallocate_shared(void* memory) noexcept override { deallocate(memory); }
  void* allocate_pinned(Bytes bytes) override;
  void deallocate_pinned(void* memory) noexcept override;

  Stream create_stream(StreamPriority priority) override;
  void destroy_stream(Stream stream) noexcept override;
  bool is_idle(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) noexcept override;

  void submit(Stream stream, const Work& work) override;
  void copy(Stream stream, void* to, const void* from, Bytes bytes) override;
  void fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) override;
  void record(Event event, Stream stream) override;
  void wait(Stream stream, Event event) override;
  double elapsed_us(Event start, Event end) override;
  bool query(Event event) override;
  bool synchronize(Event event, Deadline deadline) override;

  bool can_access(DeviceId peer) const override { return peer.kind == DeviceKind::sim; }
  void enable_peer(DeviceId peer) override;
  void disable_peer(DeviceId peer);  // tests of enforcement
  std::optional<std::string> access_problem(const void* memory, Bytes bytes) const override;
  std::optional<DeviceId> owner_of(const void* memory) const override;

  // Streams and events that exist now, over all simulated devices: what tests look at for leaks.
  static std::int64_t live_handles();

 private:
  bool is_peer(DeviceOrdinal other) const;

  DeviceOrdinal ordinal_;
  // Bit i: may access sim:i. A set bit publishes nothing else.
  std::atomic<std::uint64_t> peers_{0};
};

}  // namespace weft
