#include "core/device/host_device.h"

#include <cstdlib>
#include <cstring>

#include "core/base/error.h"

namespace weft {
namespace {

constexpr std::size_t kAlignment = 256;

[[noreturn]] void no_streams() {
  fail(ErrorCode::device_mismatch, "device \"cpu\" has no streams; use a simulated or CUDA device");
}

}  // namespace

void* HostDevice::allocate(Bytes bytes) {
  if (bytes.value() == 0) return nullptr;
  const std::size_t rounded =
      (static_cast<std::size_t>(bytes.value()) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (!memory) {
    throw Error(ErrorCode::out_of_memory, concat("no ", bytes, " bytes of host memory left"),
                {.device = "cpu"});
  }
  return memory;
}

void HostDevice::deallocate(void* memory) noexcept { std::free(memory); }

void* HostDevice::allocate_shared(Bytes bytes) {
  void* memory = allocate(bytes);
  if (memory) std::memset(memory, 0, static_cast<std::size_t>(bytes.value()));
  return memory;
}

Stream HostDevice::create_stream(StreamPriority) { no_streams(); }
bool HostDevice::is_idle(Stream) { no_streams(); }
Event HostDevice::create_event() { no_streams(); }
void HostDevice::submit(Stream, const Work&) { no_streams(); }
void HostDevice::record(Event, Stream) { no_streams(); }
void HostDevice::wait(Stream, Event) { no_streams(); }
bool HostDevice::query(Event) { no_streams(); }
bool HostDevice::synchronize(Event, Deadline) { no_streams(); }

void HostDevice::copy(Stream, void* to, const void* from, Bytes bytes) {
  if (bytes.value() > 0) std::memmove(to, from, static_cast<std::size_t>(bytes.value()));
}

void HostDevice::fill(Stream, void* to, std::uint8_t value, Bytes bytes) {
  if (bytes.value() > 0) std::memset(to, value, static_cast<std::size_t>(bytes.value()));
}

void HostDevice::enable_peer(DeviceId peer) {
  if (!can_access(peer)) fail(ErrorCode::peer_access, "host memory has no peers");
}

}  // namespace weft
