#include "core/device/fault/fault_device.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>

namespace weft {

const char* name(DeviceCall call) {
  constexpr const char* kNames[kDeviceCalls] = {"allocate",
                                                "allocate_shared",
                                                "allocate_pinned",
                                                "create_stream",
                                                "create_event",
                                                "submit",
                                                "copy",
                                                "fill",
                                                "record",
                                                "wait",
                                                "query",
                                                "synchronize",
                                                "enable_peer",
                                                "begin_capture",
                                                "launch"};
  return kNames[static_cast<int>(call)];
}

void FaultDevice::plan(DeviceCall call, std::int64_t nth, Action action) {
  const MutexLock lock(mutex_);
  armed_ = Armed{call, counts_[static_cast<std::size_t>(call)] + nth, action};
}

void FaultDevice::clear() {
  const MutexLock lock(mutex_);
  armed_.reset();
  told_.clear();
}

void FaultDevice::lie_about(DeviceId peer, DeviceCall call) {
  const MutexLock lock(mutex_);
  told_.push_back({peer, call});
}

bool FaultDevice::lies(DeviceCall call, std::span<const void* const> memory) const {
  const MutexLock lock(mutex_);
  return std::any_of(told_.begin(), told_.end(), [&](const Lie& lie) {
    return lie.call == call && std::any_of(memory.begin(), memory.end(), [&](const void* named) {
             return inner_.owner_of(named) == lie.peer;
           });
  });
}

std::int64_t FaultDevice::calls(DeviceCall call) const {
  const MutexLock lock(mutex_);
  return counts_[static_cast<std::size_t>(call)];
}

void FaultDevice::before(DeviceCall call) {
  std::optional<Action> strikes;
  {
    const MutexLock lock(mutex_);
    const std::int64_t count = ++counts_[static_cast<std::size_t>(call)];
    if (armed_ && armed_->call == call && armed_->at == count) {
      strikes = armed_->action;
      armed_.reset();
    }
  }
  if (!strikes) return;
  std::this_thread::sleep_for(std::chrono::nanoseconds(strikes->delay_ns));
  if (strikes->throws_bad_alloc) throw std::bad_alloc();
  if (strikes->fails_with) {
    throw Error(*strikes->fails_with, concat("planned fault: ", weft::name(call), " failed"),
                {.device = id().str()});
  }
}

void* FaultDevice::allocate(Bytes bytes) {
  before(DeviceCall::allocate);
  return inner_.allocate(bytes);
}

void* FaultDevice::allocate_shared(Bytes bytes) {
  before(DeviceCall::allocate_shared);
  return inner_.allocate_shared(bytes);
}

void* FaultDevice::allocate_pinned(Bytes bytes) {
  before(DeviceCall::allocate_pinned);
  return inner_.allocate_pinned(bytes);
}

Stream FaultDevice::create_stream(StreamPriority priority) {
  before(DeviceCall::create_stream);
  return inner_.create_stream(priority);
}

bool FaultDevice::is_idle(Stream stream) {
  before(DeviceCall::query);
  return inner_.is_idle(stream);
}

Event FaultDevice::create_event() {
  before(DeviceCall::create_event);
  return inner_.create_event();
}

Event FaultDevice::create_timed_event() {
  before(DeviceCall::create_event);
  return inner_.create_timed_event();
}

void FaultDevice::begin_capture(Stream stream) {
  before(DeviceCall::begin_capture);
  inner_.begin_capture(stream);
}

void FaultDevice::launch(Stream stream, DeviceGraph graph) {
  before(DeviceCall::launch);
  inner_.launch(stream, graph);
}

void FaultDevice::submit(Stream stream, const Work& work) {
  before(DeviceCall::submit);
  std::array<const void*, Work::kParamBytes / sizeof(void*)> words{};
  std::memcpy(words.data(), work.params.data(), sizeof(words));
  if (lies(DeviceCall::submit, words)) return;
  inner_.submit(stream, work);
}

void FaultDevice::copy(Stream stream, void* to, const void* from, Bytes bytes) {
  before(DeviceCall::copy);
  if (lies(DeviceCall::copy, std::array{static_cast<const void*>(to), from})) return;
  inner_.copy(stream, to, from, bytes);
}

void FaultDevice::fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) {
  before(DeviceCall::fill);
  inner_.fill(stream, to, value, bytes);
}

void FaultDevice::record(Event event, Stream stream) {
  before(DeviceCall::record);
  inner_.record(event, stream);
}

void FaultDevice::wait(Stream stream, Event event) {
  before(DeviceCall::wait);
  inner_.wait(stream, event);
}

bool FaultDevice::query(Event event) {
  before(DeviceCall::query);
  return inner_.query(event);
}

bool FaultDevice::synchronize(Event event, Deadline deadline) {
  before(DeviceCall::synchronize);
  return inner_.synchronize(event, deadline);
}

void FaultDevice::enable_peer(DeviceId peer) {
  before(DeviceCall::enable_peer);
  inner_.enable_peer(peer);
}

}  // namespace weft
