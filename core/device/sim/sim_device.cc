#include "core/device/sim/sim_device.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/base/mutex.h"
#include "core/device/host_device.h"
#include "core/device/sim/scheduler.h"
#include "core/device/sim/sim_memory.h"
#include "core/device/sim/sim_stream.h"

namespace weft {
namespace {

std::atomic<std::int64_t> live{0};

SimEvent& as_event(Event event) { return *static_cast<SimEvent*>(event.handle); }
SimStream& as_stream(Stream stream) { return *static_cast<SimStream*>(stream.handle); }

// Destroyed events are kept for reuse and never freed, because works that name them may still be
// queued. Only an idle one is reused; a late wait for it finds its number reached.
class EventPool {
 public:
  SimEvent* take() {
    const MutexLock lock(mutex_);
    const auto idle =
        std::find_if(free_.begin(), free_.end(), [](SimEvent* e) { return e->done(); });
    if (idle == free_.end()) return new SimEvent();
    SimEvent* event = *idle;
    *idle = free_.back();
    free_.pop_back();
    return event;
  }
  void give_back(SimEvent* event) {
    const MutexLock lock(mutex_);
    free_.push_back(event);
  }

 private:
  Mutex mutex_;
  std::vector<SimEvent*> free_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

EventPool& event_pool() {
  static EventPool& pool = *new EventPool();
  return pool;
}

void run_wait(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const SimEventParams*>(params);
  // Polled, not blocked on, so that under a seeded scheduler other streams get their turn.
  SimScheduler::Wait wait;
  while (!p.event->reached(p.number)) wait.yield();
}

struct CopyParams {
  void* to;
  const void* from;
  std::int64_t bytes;
};

void run_copy(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const CopyParams*>(params);
  std::memmove(p.to, p.from, static_cast<std::size_t>(p.bytes));
}

struct FillParams {
  void* to;
  std::int64_t bytes;
  std::uint8_t value;
};

void run_fill(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const FillParams*>(params);
  std::memset(p.to, p.value, static_cast<std::size_t>(p.bytes));
}

}  // namespace

SimDevice::SimDevice(DeviceOrdinal ordinal) : ordinal_(ordinal) {}

void* SimDevice::allocate(Bytes bytes) {
  return SimMemory::instance().allocate(ordinal_, bytes, false);
}

void SimDevice::deallocate(void* memory) noexcept { SimMemory::instance().deallocate(memory); }

void* SimDevice::allocate_shared(Bytes bytes) {
  return SimMemory::instance().allocate(ordinal_, bytes, true);
}

void* SimDevice::allocate_pinned(Bytes bytes) {
  return weft::device({DeviceKind::cpu, DeviceOrdinal(0)}).allocate_pinned(bytes);
}

void SimDevice::deallocate_pinned(void* memory) noexcept {
  weft::device({DeviceKind::cpu, DeviceOrdinal(0)}).deallocate_pinned(memory);
}

Stream SimDevice::create_stream(StreamPriority) {
  auto* stream = new SimStream(*this);
  live.fetch_add(1, std::memory_order_relaxed);
  return Stream{stream};
}

void SimDevice::destroy_stream(Stream stream) noexcept {
  if (!stream.handle) return;
  delete static_cast<SimStream*>(stream.handle);
  live.fetch_sub(1, std::memory_order_relaxed);
}

bool SimDevice::is_idle(Stream stream) { return as_stream(stream).idle(); }

Event SimDevice::create_event() {
  SimEvent* event = event_pool().take();
  live.fetch_add(1, std::memory_order_relaxed);
  return Event{event};
}

void SimDevice::destroy_event(Event event) noexcept {
  if (!event.handle) return;
  event_pool().give_back(static_cast<SimEvent*>(event.handle));
  live.fetch_sub(1, std::memory_order_relaxed);
}

void SimDevice::submit(Stream stream, const Work& work) { as_stream(stream).push(work); }

void SimDevice::copy(Stream stream, void* to, const void* from, Bytes bytes) {
  if (bytes.value() == 0) return;
  for (const void* end : {static_cast<const void*>(to), from}) {
    if (const auto problem = access_problem(end, bytes)) {
      throw Error(ErrorCode::peer_access, *problem, {.device = id().str()});
    }
  }
  submit(stream, Work::make("copy", run_copy, CopyParams{to, from, bytes.value()}));
}

void SimDevice::fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) {
  if (bytes.value() == 0) return;
  if (const auto problem = access_problem(to, bytes)) {
    throw Error(ErrorCode::peer_access, *problem, {.device = id().str()});
  }
  submit(stream, Work::make("fill", run_fill, FillParams{to, bytes.value(), value}));
}

void SimDevice::record(Event event, Stream stream) {
  SimEvent& e = as_event(event);
  submit(stream, Work::make("record", run_sim_record, SimEventParams{&e, e.next_record()}));
}

void SimDevice::wait(Stream stream, Event event) {
  SimEvent& e = as_event(event);
  submit(stream, Work::make("wait", run_wait, SimEventParams{&e, e.latest()}));
}

double SimDevice::elapsed_us(Event start, Event end) {
  return 1e-3 * static_cast<double>(as_event(end).happened_ns() - as_event(start).happened_ns());
}

bool SimDevice::query(Event event) { return as_event(event).done(); }

bool SimDevice::synchronize(Event event, Deadline deadline) {
  return as_event(event).wait_latest(deadline);
}

bool SimDevice::is_peer(DeviceOrdinal other) const {
  return other == ordinal_ || (peers_.load(std::memory_order_relaxed) >> other.value() & 1u) != 0;
}

void SimDevice::enable_peer(DeviceId peer) {
  if (!can_access(peer)) {
    throw Error(ErrorCode::peer_access, concat(id().str(), " cannot access ", peer.str()),
                {.device = id().str()});
  }
  peers_.fetch_or(std::uint64_t{1} << peer.ordinal.value(), std::memory_order_relaxed);
}

void SimDevice::disable_peer(DeviceId peer) {
  peers_.fetch_and(~(std::uint64_t{1} << peer.ordinal.value()), std::memory_order_relaxed);
}

std::optional<std::string> SimDevice::access_problem(const void* memory, Bytes bytes) const {
  const auto range = SimMemory::instance().find(memory);
  if (!range) return std::nullopt;
  if (!is_peer(range->owner)) {
    return concat(id().str(), " has no peer access to memory of sim:", range->owner);
  }
  if (bytes.value() > range->bytes_left) {
    return concat(id().str(), ": an access of ", bytes, " bytes runs ",
                  bytes.value() - range->bytes_left,
                  " past the end of memory of sim:", range->owner);
  }
  return std::nullopt;
}

std::optional<DeviceId> SimDevice::owner_of(const void* memory) const {
  const auto range = SimMemory::instance().find(memory);
  if (!range) return std::nullopt;
  return DeviceId{DeviceKind::sim, range->owner};
}

std::int64_t SimDevice::live_handles() { return live.load(std::memory_order_relaxed); }

}  // namespace weft
