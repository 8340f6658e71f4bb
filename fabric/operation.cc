#include "fabric/operation.h"

#include <algorithm>
#include <cstring>

#include "fabric/fabric.h"
#include "fabric/fault.h"
#include "fabric/graph.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kLookInterval = 50'000'000;  // ns between two looks for what ends a wait

}  // namespace

Operation::Operation(Fabric& fabric) : fabric_(fabric) {
  const auto world = static_cast<std::size_t>(fabric.world().value());
  works_.resize(world);
  arrivals_.reserve(world);
  kept_.reserve(2 * world);
  dropped_.reserve(2 * world);
  for (std::size_t r = 0; r < world; ++r) {
    devices_.push_back(&fabric.device(Rank(static_cast<int>(r))));
    ended_.push_back(devices_.back()->create_event());
  }
}

Operation::~Operation() {
  if (home_.left()) return;
  for (std::size_t r = 0; r < ended_.size(); ++r) {
    devices_[r]->destroy_event(ended_[r]);
    if (r < joined_.size()) devices_[r]->destroy_event(joined_[r]);
  }
}

void Operation::begin(std::uint64_t id, std::int64_t enqueue_ns) {
  const MutexLock lock(decide_mutex_);
  id_ = id;
  enqueue_ns_ = enqueue_ns;
  info_ = OperationInfo{};
  is_recorded_ = false;
  error_.reset();
  kept_.clear();
  captured_.reset();
  replayed_.reset();
  arrivals_.clear();
  std::fill(works_.begin(), works_.end(), Work{});
}

void Operation::describe_replay(const std::shared_ptr<const Graph>& graph,
                                std::int64_t timeout_ns) {
  replayed_ = graph;
  info_.kind = EventKind::graph;
  info_.kind_name = "graph";
  info_.timeout_ns = timeout_ns;
  for (const auto& recorded : graph->operations()) {
    const OperationInfo& info = recorded->info();
    const bool first = recorded == graph->operations().front();
    if (first || std::strcmp(info_.algorithm, info.algorithm) == 0) {
      info_.algorithm = info.algorithm;
    } else {
      info_.algorithm = "several";
    }
    if (first) info_.path = info.path;
    info_.joint = info_.joint || info.joint;
    info_.bytes += info.bytes;
    info_.blocks = std::max(info_.blocks, info.blocks);
    info_.timeout_ns = std::max(info_.timeout_ns, info.timeout_ns);
    if (info.predicted_ns >= 0) {
      info_.predicted_ns = std::max<std::int64_t>(info_.predicted_ns, 0) + info.predicted_ns;
    }
  }
  params<const Graph*>() = graph.get();
  info_.add_link_bytes = [](const void* params, std::span<std::int64_t> link_bytes) {
    const Graph& replayed = **static_cast<const Graph* const*>(params);
    for (const auto& recorded : replayed.operations()) {
      const OperationInfo& info = recorded->info();
      if (info.add_link_bytes) info.add_link_bytes(recorded->params_.data(), link_bytes);
    }
  };
}

void Operation::drop_kept() {
  kept_.clear();
  captured_.reset();
  replayed_.reset();
}

void Operation::fail(const Error& error) {
  const MutexLock lock(decide_mutex_);
  error_ = error;
}

void Operation::commit() {
  const MutexLock lock(decide_mutex_);
  launch_ns_ = now_ns();
  // Nobody else holds this operation yet; who gets it from launch() sees this.
  decided_.store(false, std::memory_order_relaxed);
}

Error Operation::blamed(const Error& error, std::size_t rank) const {
  ErrorContext context = error.context();
  context.rank = static_cast<int>(rank);
  context.culprits = {static_cast<int>(rank)};
  return Error(error.code(), concat("rank ", rank, ": ", error.message()), std::move(context));
}

// Decides once ended(rank) is true of every rank. A device's error makes all ranks leave, and they
// are waited for: what they use lives until then. So is the rank whose device failed, which may
// have failed to say so only; if it is lost, that fails once more.
template <class Ended>
bool Operation::look(const Ended& ended) {
  // sync(decided): acquire - sees error_ and all results; pairs with release in decide
  if (decided_.load(std::memory_order_acquire)) return true;
  if (home_.left()) fabric_.check_usable();
  std::optional<Error> device_error;
  Deadline leave = Deadline::never();
  for (std::size_t r = 0; r < ended_.size(); ++r) {
    try {
      if (!device_error && !ended(r)) return false;
      if (device_error) devices_[r]->synchronize(ended_[r], leave);
    } catch (const Error& error) {
      fabric_.raise_abort_flag();
      if (device_error) continue;
      device_error = blamed(error, r);
      leave = Deadline::after_ns(kLeaveGrace);
      --r;  // once more
    }
  }
  decide(std::move(device_error));
  return true;
}

bool Operation::wait_until(Deadline deadline) {
  return look([&](std::size_t r) { return devices_[r]->synchronize(ended_[r], deadline); });
}

bool Operation::wait(Deadline deadline, const FunctionRef<bool()>& interrupted) {
  if (done()) return true;
  const std::int64_t begin = now_ns();
  const bool ended = wait_until_ended(deadline, interrupted);
  fabric_.record_event({.kind = EventKind::wait, .begin_ns = begin, .operation = id_});
  return ended;
}

bool Operation::wait_until_ended(Deadline deadline, const FunctionRef<bool()>& interrupted) {
  Deadline leave = Deadline::never();
  while (true) {
    const std::int64_t left = std::min(deadline.left_ns(), leave.left_ns());
    if (wait_until(Deadline::after_ns(std::clamp<std::int64_t>(left, 0, kLookInterval)))) {
      return true;
    }
    if (deadline.passed() || leave.passed() || interrupted()) return false;
    if (leave.at_ns() == INT64_MAX && fabric_.is_aborted()) {
      leave = Deadline::after_ns(kLeaveGrace);
    }
  }
}

std::vector<int> Operation::unfinished() {
  std::vector<int> ranks;
  for (std::size_t r = 0; r < ended_.size(); ++r) {
    if (!devices_[r]->query(ended_[r])) ranks.push_back(static_cast<int>(r));
  }
  return ranks;
}

bool Operation::done() {
  return look([&](std::size_t r) { return devices_[r]->query(ended_[r]); });
}

bool Operation::has_ended() const noexcept {
  try {
    for (std::size_t r = 0; r < ended_.size(); ++r) {
      if (!devices_[r]->query(ended_[r])) return false;
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

void Operation::conclude() {
  look([](std::size_t) { return true; });
}

std::optional<Error> Operation::error() {
  if (!done()) return std::nullopt;
  if (home_.left()) fabric_.check_usable();  // before the lock: see there
  const MutexLock lock(decide_mutex_);
  return error_;
}

void Operation::decide(std::optional<Error> device_error) {
  MutexLock lock(decide_mutex_);
  if (decided_.load(std::memory_order_relaxed)) return;
  const std::int64_t end_ns = now_ns();
  if (!error_) error_ = device_error ? std::move(device_error) : fabric_.fault_of(*this);
  const bool failed = error_.has_value();
  const int culprit =
      failed && !error_->context().culprits.empty() ? error_->context().culprits.front() : -1;
  record_events(failed, culprit, end_ns);
  if (failed) {
    fabric_.stats_.add_failure(error_->code(), info_.kind_name, info_.algorithm);
    fabric_.poison(*error_);
  } else if (info_.bytes == 0) {
    fabric_.stats_.add_empty();
  } else {
    const OperationTotals totals{
        info_.kind_name,
        info_.algorithm,
        info_.bytes,
        end_ns - launch_ns_,
        static_cast<double>(std::max<std::int64_t>(info_.predicted_ns, 0)) * 1e-9,
        info_.staged_tensors,
        info_.staged_bytes};
    fabric_.stats_.add_operation(totals, [&](std::span<std::int64_t> link_bytes) {
      if (info_.add_link_bytes) info_.add_link_bytes(params_.data(), link_bytes);
    });
  }
  dropped_.swap(kept_);
  captured_.reset();
  const std::shared_ptr<const Graph> replayed = std::move(replayed_);
  // sync(decided): release - publishes error_ and all results; pairs with acquire in look
  decided_.store(true, std::memory_order_release);
  lock.unlock();
  // Without the lock: a foreign deleter may take locks of its own, the GIL among them. Nobody else
  // comes here, and the operation is not used again while its caller holds it.
  dropped_.clear();
}

void Operation::record_events(bool failed, int culprit, std::int64_t end_ns) {
  if (!fabric_.events_on_) return;
  EventRecord event;
  event.op_id = id_;
  event.kind = info_.kind;
  event.bytes = info_.bytes;
  event.blocks = info_.blocks;
  event.dtype = info_.dtype;
  event.op = info_.op;
  event.protocol = info_.protocol;
  event.status = failed ? EventStatus::failed : EventStatus::ok;
  event.culprit = culprit;
  event.t_enqueue_ns = enqueue_ns_;
  event.t_launch_ns = launch_ns_;
  event.t_start_ns = launch_ns_;
  event.t_end_ns = end_ns;
  event.clock = ClockSource::host;
  event.set_algorithm(info_.algorithm);
  event.set_path(info_.path);
  for (std::int32_t r = 0; r < fabric_.world().value(); ++r) {
    event.rank = r;
    if (!arrivals_.empty()) event.t_enqueue_ns = arrivals_[static_cast<std::size_t>(r)];
    event.device = devices_[static_cast<std::size_t>(r)]->id().ordinal.value();
    event.stream = static_cast<std::uint64_t>(r);
    fabric_.events_.record(event);
  }
}

}  // namespace weft::fabric
