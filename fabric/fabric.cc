#include "fabric/fabric.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/config.h"
#include "fabric/fault.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kIdleGrace = 10'000'000'000;  // ns that an aborted stream has to become idle

// A launch that blocks until its kernel ends would never come to the ranks that it waits for.
void check_launches() {
  const std::string blocking = foreign_variable("CUDA_LAUNCH_BLOCKING");
  if (blocking.empty() || blocking == "0") return;
  fail(ErrorCode::config, "CUDA_LAUNCH_BLOCKING=", blocking,
       " makes the launch of one rank's kernel wait for its end, and that waits for the other "
       "ranks: unset the variable before the process starts (to find a faulty kernel, "
       "compute-sanitizer does not need it)");
}

void check_options(const FabricOptions& options) {
  if (options.devices.empty()) {
    fail(ErrorCode::invalid_argument, "a fabric needs at least one rank");
  }
  const DeviceKind kind = options.devices.front()->id().kind;
  for (const Device* device : options.devices) {
    if (device->id().kind != kind) {
      fail(ErrorCode::invalid_argument, "a fabric's ranks are on devices of one kind, not ",
           options.devices.front()->id().str(), " and ", device->id().str());
    }
  }
  if (!(options.timeout_seconds > 0) || options.timeout_seconds > 1e9) {
    fail(ErrorCode::invalid_argument, "timeout is seconds, finite and greater than 0, not ",
         options.timeout_seconds);
  }
  if (kind == DeviceKind::cuda && options.devices.size() > 1) check_launches();
}

}  // namespace

std::shared_ptr<Fabric> Fabric::open(FabricOptions options) {
  check_options(options);
  // In the child of a fork() threads that are not there hold its locks and wait on its condition
  // variables: there it is left as it is.
  const std::shared_ptr<Fabric> fabric(new Fabric(options), [](Fabric* made) {
    if (!made->forked()) delete made;
  });
  const std::int64_t begin = now_ns();
  try {
    fabric->open_ranks(options);
  } catch (...) {
    fabric->abandon();
    throw;
  }
  fabric->record_event({.kind = EventKind::open, .begin_ns = begin});
  return fabric;
}

Fabric::Fabric(const FabricOptions& options)
    : backend_(options.devices.front()->id().kind),
      topology_(options.topology),
      timeout_ns_(std::max<std::int64_t>(1, seconds_to_ns(options.timeout_seconds))),
      first_epoch_(options.first_epoch),
      blocks_(options.blocks),
      prepare_scratch_(options.prepare_scratch),
      rendezvous_(WorldSize(static_cast<std::int32_t>(options.devices.size()))),
      events_on_(options.events.value_or(config().events)),
      stats_(WorldSize(static_cast<std::int32_t>(options.devices.size()))) {
  for (Device* device : options.devices) ranks_.push_back({device, {}, {}});
  for (const RankState& rank : ranks_) {
    shares_devices_ = shares_devices_ || ranks_on(rank.device->id()) > 1;
  }
  ended_.reserve(InFlight::kRoom);
}

Fabric::~Fabric() { close(); }

void Fabric::open_ranks(const FabricOptions& options) {
  enable_peers();
  const std::int64_t records = static_cast<std::int64_t>(ranks_.size()) * blocks_;
  Device& first = *ranks_.front().device;
  const ArenaLayout layout{world().value(), blocks_, options.scratch.value()};
  abort_flag_ = static_cast<std::uint32_t*>(first.allocate_pinned(Bytes(64)));
  fault_records_ = static_cast<FaultRecord*>(
      first.allocate_pinned(Bytes(records * static_cast<int>(sizeof(FaultRecord)))));
  header_ = static_cast<std::byte*>(first.allocate_pinned(Bytes(layout.scratch_offset())));
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    RankState& rank = ranks_[r];
    const std::int64_t begin = now_ns();
    rank.stream = rank.device->create_stream(StreamPriority::high);
    rank.arena = {static_cast<std::byte*>(rank.device->allocate_shared(Bytes(layout.bytes()))),
                  layout};
    record_event({.kind = EventKind::segment,
                  .begin_ns = begin,
                  .rank = static_cast<std::int32_t>(r),
                  .bytes = layout.bytes()});
  }
  reset_signals();
}

void Fabric::enable_peers() {
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankState& a = ranks_[r];
    for (const RankState& b : ranks_) {
      if (a.device->id() == b.device->id()) continue;
      if (!a.device->can_access(b.device->id())) {
        throw Error(
            ErrorCode::peer_access,
            concat(a.device->id().str(), " cannot access the memory of ", b.device->id().str()),
            {.device = a.device->id().str()});
      }
      refuse_quarantined(a.device->id(), b.device->id());
      const std::int64_t begin = now_ns();
      a.device->enable_peer(b.device->id());
      record_event({.kind = EventKind::peer_enable,
                    .begin_ns = begin,
                    .rank = static_cast<std::int32_t>(r),
                    .path = b.device->id().str()});
    }
  }
}

// A pair whose bytes did not arrive when it was tried has no part in a fabric, whatever its driver
// says.
void Fabric::refuse_quarantined(DeviceId from, DeviceId to) const {
  const auto index = [&](DeviceId id) {
    int i = 0;
    while (i < topology_.size() && !(topology_.node(i).device == id)) ++i;
    return i;
  };
  const int a = index(from);
  const int b = index(to);
  if (a == topology_.size() || b == topology_.size()) return;
  const topology::Link& link = topology_.link(a, b);
  if (link.verified.value_or(true)) return;
  throw Error(ErrorCode::topology,
              concat("peer access between ", from.str(), " and ", to.str(), " is ", link.reason),
              {.device = from.str()});
}

void Fabric::abandon() noexcept {
  const MutexLock lock(launch_mutex_);
  const MutexLock state_lock(state_mutex_);
  state_ = State::closed;
  release();
}

// Everything that open_ranks made, in any state of completion.
void Fabric::release() noexcept {
  in_flight_.clear();
  ended_.clear();
  // All streams before any memory: a rank's work may still touch a peer's arena.
  for (RankState& rank : ranks_) {
    rank.device->destroy_stream(std::exchange(rank.stream, {}));
    rank.device->destroy_event(std::exchange(rank.captured, {}).event);
  }
  for (RankState& rank : ranks_) {
    rank.device->deallocate_shared(rank.arena.base);
    rank.arena = {};
  }
  Device& first = *ranks_.front().device;
  for (void* pinned : {static_cast<void*>(abort_flag_), static_cast<void*>(fault_records_),
                       static_cast<void*>(header_)}) {
    first.deallocate_pinned(pinned);
  }
  abort_flag_ = nullptr;
  fault_records_ = nullptr;
  header_ = nullptr;
}

// Works that a device said nothing of, or something wrong, may run on while their operation has
// been decided: a rank's signals to its peers must come before these are set back.
void Fabric::finish_streams() {
  const std::shared_ptr<Operation> barrier = std::make_shared<Operation>(*this);
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankState& rank = ranks_[r];
    if (rank.last_ended.handle) rank.device->wait(rank.stream, rank.last_ended);
    rank.device->record(barrier->ended_[r], rank.stream);
  }
  synchronize(*barrier);
}

void Fabric::synchronize(const Operation& barrier) const {
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (!ranks_[r].device->synchronize(barrier.ended_[r], Deadline::after_ns(kIdleGrace))) {
      fail(ErrorCode::collective_timeout, "rank ", r, "'s stream did not become idle");
    }
  }
}

void Fabric::reset_signals() {
  const ArenaLayout& layout = ranks_.front().arena.layout;
  const Arena image{header_, layout};
  for (std::int32_t b = 0; b < blocks_; ++b) {
    for (std::int32_t p = 0; p < layout.world; ++p) {
      *image.signals(b, Rank(p)) = {first_epoch_, first_epoch_};
      *image.progress(b, Rank(p)) = {first_epoch_, first_epoch_, first_epoch_, first_epoch_};
    }
  }
  for (int family = 0; family < ArenaLayout::kEpochFamilies; ++family) {
    std::fill_n(image.epochs(family), blocks_, first_epoch_);
  }
  std::fill_n(image.left(), blocks_, 0U);
  const std::shared_ptr<Operation> barrier = std::make_shared<Operation>(*this);
  for (const RankState& rank : ranks_) {
    // Graphs that callers captured are not launched meanwhile; if one is, it comes before or after.
    if (rank.captured.event.handle) rank.device->wait(rank.stream, rank.captured.event);
    rank.device->copy(rank.stream, rank.arena.base, header_, Bytes(layout.scratch_offset()));
  }
  if (prepare_scratch_) prepare_scratch_(*this);
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    const RankState& rank = ranks_[r];
    rank.device->record(barrier->ended_[r], rank.stream);
    if (rank.captured.event.handle) rank.device->record(rank.captured.event, rank.stream);
  }
  synchronize(*barrier);
}

int Fabric::ranks_on(DeviceId device) const {
  return static_cast<int>(std::count_if(ranks_.begin(), ranks_.end(), [&](const RankState& rank) {
    return rank.device->id() == device;
  }));
}

bool Fabric::peer_access(Rank from, Rank to) const {
  const DeviceId a = device(from).id();
  const DeviceId b = device(to).id();
  return a == b || device(from).can_access(b);
}

FaultRecord* Fabric::fault_record(Rank rank, std::int32_t block) const {
  return fault_records_ + static_cast<std::ptrdiff_t>(rank.value()) * blocks_ + block;
}

void Fabric::check_usable() const {
  // Before any lock: a thread that is not in this process may have held it.
  if (forked()) {
    fail(ErrorCode::fabric_closed,
         "the fabric was opened before fork(), by another process; open a new one in this process");
  }
  const MutexLock lock(state_mutex_);
  if (state_ == State::closed) fail(ErrorCode::fabric_closed, "the fabric has been closed");
  if (state_ == State::poisoned) {
    throw Error(ErrorCode::fabric_poisoned,
                concat("the fabric had a fault and needs recover(): ", poison_cause_->message()),
                poison_cause_->context());
  }
}

std::shared_ptr<Operation> Fabric::meet(const Rendezvous::Arrival& arrival,
                                        const Rendezvous::Launch& launch,
                                        const Interrupted& interrupted) {
  if (forked()) check_usable();
  const auto usable = [&] { check_usable(); };
  const std::int64_t since_ns = now_ns();
  bool aborted = false;
  const auto gives_up = [&](bool launching) {
    if (!interrupted()) return false;
    if (launching && !std::exchange(aborted, true)) abort("interrupted while it was launched");
    return true;
  };
  const auto timed_out = [&](const Error& error) {
    poison_state(error);
    record_fault(error, arrival.rank, since_ns);
  };
  return rendezvous_.meet(arrival, {usable, timed_out, gives_up}, launch);
}

void Fabric::refuse(Rank rank, const Error& refusal) {
  if (forked()) return;
  rendezvous_.refuse(rank, refusal, [&] {
    const MutexLock lock(state_mutex_);
    return state_ == State::open;
  });
}

std::span<const FaultRecord> Fabric::fault_records() const {
  return {fault_records_, ranks_.size() * static_cast<std::size_t>(blocks_)};
}

std::optional<Error> Fabric::fault_of(const Operation& operation) const {
  // Every fault raises the flag, so that a good operation costs one load.
  if (std::atomic_ref(*abort_flag_).load(std::memory_order_relaxed) == 0) return std::nullopt;
  return error_from_records(fault_records(), world(), blocks_, operation.id(),
                            operation.info().kind_name, operation.info().timeout_ns);
}

bool Fabric::poison_state(const Error& cause) {
  const MutexLock lock(state_mutex_);
  if (state_ != State::open) return false;
  std::atomic_ref(*abort_flag_).store(1, std::memory_order_relaxed);
  state_ = State::poisoned;
  poison_cause_ = cause;
  return true;
}

bool Fabric::poison(const Error& cause) {
  const bool was_open = poison_state(cause);
  // Ranks that wait for others would wait in vain.
  rendezvous_.fail(cause);
  return was_open;
}

void Fabric::raise_abort_flag() {
  const MutexLock lock(state_mutex_);
  if (abort_flag_) std::atomic_ref(*abort_flag_).store(1, std::memory_order_relaxed);
}

bool Fabric::is_aborted() const {
  if (forked()) return true;
  const MutexLock lock(state_mutex_);
  return abort_flag_ && std::atomic_ref(*abort_flag_).load(std::memory_order_relaxed) != 0;
}

void Fabric::abort(const std::string& reason) {
  if (forked()) return;
  const bool was_open = poison(Error(ErrorCode::collective_aborted, reason));
  if (was_open) record_event({.kind = EventKind::abort});
}

bool Fabric::drain(Deadline deadline) {
  return in_flight_.all_of([&](Operation& operation) { return operation.wait_until(deadline); });
}

bool Fabric::while_idle(Deadline deadline, FunctionRef<void()> f) {
  if (forked()) check_usable();
  const MutexLock lock(launch_mutex_);
  if (!drain(deadline)) return false;
  f();
  return true;
}

bool Fabric::become_idle(Deadline deadline) { return drain(deadline) && captures_ended(deadline); }

void Fabric::check() {
  if (forked()) check_usable();
  const MutexLock lock(launch_mutex_);
  decide_some(now_ns());
  static_cast<void>(notice_captured_fault());
  check_usable();
}

void Fabric::recover() {
  if (forked()) check_usable();
  const std::int64_t begin = now_ns();
  const MutexLock lock(launch_mutex_);
  decide_ended();
  static_cast<void>(notice_captured_fault());
  {
    const MutexLock state_lock(state_mutex_);
    if (state_ == State::closed) fail(ErrorCode::fabric_closed, "the fabric has been closed");
    if (state_ == State::open) return;
  }
  if (!become_idle(Deadline::after_ns(kIdleGrace))) {
    fail(ErrorCode::collective_timeout, "recover(): a stream did not become idle in ",
         kIdleGrace / 1'000'000'000, " s");
  }
  finish_streams();
  reset_signals();
  std::fill_n(fault_records_, ranks_.size() * static_cast<std::size_t>(blocks_), FaultRecord{});
  const MutexLock state_lock(state_mutex_);
  if (state_ != State::poisoned) return;
  std::atomic_ref(*abort_flag_).store(0, std::memory_order_relaxed);
  poison_cause_.reset();
  state_ = State::open;
  record_event({.kind = EventKind::recover, .begin_ns = begin});
}

void Fabric::close() {
  if (forked()) return;
  const std::int64_t begin = now_ns();
  const MutexLock lock(launch_mutex_);
  {
    const MutexLock state_lock(state_mutex_);
    if (state_ == State::closed) return;
  }
  bool idle = become_idle(Deadline::after_ns(timeout_ns_));
  if (!idle) {
    raise_abort_flag();
    idle = become_idle(Deadline::after_ns(kIdleGrace));
  }
  watchdog_.stop();  // before state_mutex_, which its thread may be waiting for
  {
    const MutexLock state_lock(state_mutex_);
    state_ = State::closed;
    // A stream that never becomes idle may still use the memory: then it is not given back.
    if (idle) release();
  }
  rendezvous_.fail(Error(ErrorCode::fabric_closed, "the fabric was closed meanwhile"));
  record_event({.kind = EventKind::close, .begin_ns = begin});
}

std::optional<std::string> Fabric::poison_cause() const {
  if (forked()) return std::nullopt;
  const MutexLock lock(state_mutex_);
  if (state_ != State::poisoned) return std::nullopt;
  return poison_cause_->message();
}

bool Fabric::closed() const {
  if (forked()) return true;  // it cannot be used
  const MutexLock lock(state_mutex_);
  return state_ == State::closed;
}

}  // namespace weft::fabric
