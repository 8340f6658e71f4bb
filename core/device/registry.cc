// The process-wide devices. They are made on first use and never destroyed, so that a tensor may
// outlive everything else, the interpreter included.
#include <array>

#include "core/base/error.h"
#include "core/base/mutex.h"
#include "core/device/cuda_hook.h"
#include "core/device/device.h"
#include "core/device/host_device.h"
#include "core/device/sim/sim_device.h"

namespace weft {
namespace {

SimDevice& sim_device(int ordinal) {
  static Mutex& mutex = *new Mutex();
  static auto& devices WEFT_THREAD_SAFETY(guarded_by(mutex)) =
      *new std::array<SimDevice*, kMaxSimDevices>{};
  const MutexLock lock(mutex);
  SimDevice*& found = devices[static_cast<std::size_t>(ordinal)];
  if (!found) found = new SimDevice(DeviceOrdinal(ordinal));
  return *found;
}

}  // namespace

int device_count(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::cpu:
      return 1;
    case DeviceKind::sim:
      return kMaxSimDevices;
    case DeviceKind::cuda:
      return cuda_device_count();
  }
  return 0;
}

namespace {

[[noreturn]] void no_such_call(const Device& device, const char* what) {
  fail(ErrorCode::internal, device.id().str(), " has no ", what);
}

}  // namespace

double Device::elapsed_us(Event, Event) { no_such_call(*this, "clock"); }
void Device::begin_capture(Stream) { no_such_call(*this, "graphs"); }
DeviceGraph Device::end_capture(Stream) { no_such_call(*this, "graphs"); }
void Device::keep_with_capture(Stream, std::shared_ptr<void>) { no_such_call(*this, "graphs"); }
void Device::enter_capture(Stream, CaptureLink&) { no_such_call(*this, "graphs"); }
void Device::leave_capture(Stream, CaptureLink&) { no_such_call(*this, "graphs"); }
void Device::launch(Stream, DeviceGraph) { no_such_call(*this, "graphs"); }

Device& device(DeviceId id) {
  const int ordinal = id.ordinal.value();
  const int count = device_count(id.kind);
  if (ordinal < 0 || ordinal >= count) {
    fail(ErrorCode::invalid_argument, "there is no device \"", id.str(), "\"; this process has ",
         device_count(DeviceKind::cuda),
         " CUDA device(s) and simulated devices sim:0 to sim:", kMaxSimDevices - 1);
  }
  switch (id.kind) {
    case DeviceKind::cpu:
      break;
    case DeviceKind::sim:
      return sim_device(ordinal);
    case DeviceKind::cuda:
      return cuda_device(ordinal);
  }
  static Device& host = *new HostDevice();
  return host;
}

}  // namespace weft
