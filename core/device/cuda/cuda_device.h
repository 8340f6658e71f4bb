// A CUDA device of this machine, behind the Device interface.
//
// Invariants
//   1. Streams never wait for the default stream. Handles are CUDA's own (cudaStream_t,
//   cudaEvent_t), so
//      that a caller's stream is a Stream.
//   2. Shared segments are mapped for every device that may access this one, those made before the
//      access was enabled and those made after.
//   3. The calling thread's current device is left as it was.
//   4. Clean-up ignores errors: after one, the context is gone and its memory with it.
#pragma once

#include <map>
#include <set>

#include "core/base/mutex.h"
#include "core/device/cuda/cuda_api.h"
#include "core/device/cuda/cuda_segment.h"
#include "core/device/device.h"

namespace weft {

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal);

  DeviceId id() const override { return {DeviceKind::cuda, DeviceOrdinal(ordinal_)}; }
  std::string name() const override;
  std::int32_t generation() const override;

  void* allocate(Bytes bytes) override;
  void deallocate(void* memory) noexcept override;
  void* allocate_shared(Bytes bytes) override;
  void deallocate_shared(void* memory) noexcept override;
  void* allocate_pinned(Bytes bytes) override;
  void deallocate_pinned(void* memory) noexcept override;

  Stream create_stream(StreamPriority priority) override;
  void destroy_stream(Stream stream) noexcept override;
  bool is_idle(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) noexcept override;

  void enter() override { hold_current_device(ordinal_); }
  void leave() noexcept override { release_current_device(); }
  void submit(Stream stream, const Work& work) override;
  void copy(Stream stream, void* to, const void* from, Bytes bytes) override;
  void fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) override;
  void record(Event event, Stream stream) override;
  void wait(Stream stream, Event event) override;
  Event create_timed_event() override;
  double elapsed_us(Event start, Event end) override;
  bool has_graphs() const override { return true; }
  bool is_capturing(Stream stream) override;
  void begin_capture(Stream stream) override;
  DeviceGraph end_capture(Stream stream) override;
  void keep_with_capture(Stream stream, std::shared_ptr<void> thing) override;
  void enter_capture(Stream stream, CaptureLink& link) override;
  void leave_capture(Stream stream, CaptureLink& link) override;
  std::uint64_t id_of(Stream stream) override;
  std::optional<std::string> stream_problem(Stream stream) const override;
  void launch(Stream stream, DeviceGraph graph) override;
  void destroy_graph(DeviceGraph graph) noexcept override;
  bool query(Event event) override;
  bool synchronize(Event event, Deadline deadline) override;

  bool can_access(DeviceId peer) const override;
  void enable_peer(DeviceId peer) override;
  std::optional<std::string> access_problem(const void* memory, Bytes bytes) const override;
  std::optional<std::string> make_reachable(const void* memory, Bytes bytes) override;
  std::span<const std::byte> allocation_of(const void* memory) const override;
  std::optional<DeviceId> owner_of(const void* memory) const override;

 private:
  // Lets another device touch this one's shared segments, now and later.
  void grant(int accessor);
  // `grant`: gives this device access, where it can be given.
  std::optional<std::string> access_problem(const void* memory, Bytes bytes, bool grant) const;
  // The memory belongs to `owner`, a device that this one may access. May it be touched from here?
  std::optional<std::string> peer_problem(const void* memory, Bytes bytes, int owner,
                                          bool grant) const;
  // Between devices of which one cannot reach the other's memory; not while captured. False: it is
  // not such a copy.
  bool copy_to_unreachable(Stream stream, void* to, const void* from, Bytes bytes);

  int ordinal_;
  mutable Mutex mutex_;
  // By address.
  std::map<void*, CudaSegment> segments_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  // Devices that may access this one, and devices that this one may access.
  std::set<int> accessors_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::set<int> peers_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft
