// How a fabric starts operations: at once, or recorded in a graph.
#include <algorithm>
#include <utility>

#include "fabric/fabric.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kLookInterval = 50'000;  // ns between two looks at what has ended

}  // namespace

// Faults of operations that ended unseen come to light here. A rank's operations end in their
// order: if the newest has ended, all have.
void Fabric::decide_ended() {
  const bool all = in_flight_.size() > 1 && in_flight_.back()->has_ended();
  while (!in_flight_.empty()) {
    Operation& oldest = *in_flight_.front();
    if (all) oldest.conclude();
    if (!oldest.done()) return;
    ended_.push_back(in_flight_.pop_front());
  }
}

// For statistics, which are not to wait for a launch: that looks by itself.
void Fabric::notice_ended() {
  if (forked() || !launch_mutex_.try_lock()) return;
  decide_ended();
  launch_mutex_.unlock();
}

// The same at a launch. To ask a device costs as much as a third of a launch: now and then will do.
void Fabric::decide_some(std::int64_t now) {
  while (!in_flight_.empty() && in_flight_.front()->decided()) {
    ended_.push_back(in_flight_.pop_front());
  }
  if (now - looked_ns_ < kLookInterval && !in_flight_.half_full()) return;
  looked_ns_ = now;
  decide_ended();
}

// One that nobody holds any more. Far behind, the caller waits for the oldest in flight.
std::shared_ptr<Operation> Fabric::idle_operation() {
  if (in_flight_.full()) {
    if (!in_flight_.front()->wait_until(Deadline::after_ns(timeout_ns_))) {
      fail(ErrorCode::collective_timeout, "the oldest of ", InFlight::kRoom,
           " operations under way has not ended");
    }
    decide_ended();
    check_usable();
  }
  for (auto& operation : ended_) {
    if (operation.use_count() > 1) continue;
    std::swap(operation, ended_.back());
    std::shared_ptr<Operation> idle = std::move(ended_.back());
    ended_.pop_back();
    return idle;
  }
  return std::make_shared<Operation>(*this);
}

std::shared_ptr<Operation> Fabric::launch(const PrepareFn& prepare,
                                          std::span<const Stream> user_streams) {
  const std::int64_t enqueue_ns = now_ns();
  if (forked()) check_usable();
  const MutexLock lock(launch_mutex_);
  const auto prepare_recorded = [&](Operation& operation) {
    operation.is_recorded_ = true;
    prepare(operation);
  };
  if (are_capturing(user_streams)) {
    return launch_captured(prepare_recorded, user_streams, enqueue_ns);
  }
  decide_some(enqueue_ns);
  static_cast<void>(notice_captured_fault());
  check_usable();
  if (recording_) return record(prepare_recorded, enqueue_ns);
  std::shared_ptr<Operation> operation = idle_operation();
  operation->begin(next_id_, enqueue_ns);
  bool straight = false;
  try {
    prepare(*operation);
    straight = place(*operation, user_streams);
  } catch (...) {
    take_back(std::move(operation));
    throw;
  }
  ++next_id_;
  return submit(std::move(operation), user_streams, straight, nullptr);
}

// One that was not launched after all. It is kept: a rank's last_ended may be its event.
void Fabric::take_back(std::shared_ptr<Operation> operation) {
  operation->drop_kept();
  ended_.push_back(std::move(operation));
}

// Has each rank of a device a stream of its own?
bool Fabric::are_apart(std::span<const Stream> user_streams) const {
  for (std::size_t a = 0; a < user_streams.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      if (user_streams[a].handle == user_streams[b].handle &&
          ranks_[a].device->id() == ranks_[b].device->id()) {
        return false;
      }
    }
  }
  return true;
}

// Do no two ranks of a device wait for each other's streams? Those that follow the default stream
// do as soon as anybody uses it.
bool Fabric::never_meet(std::span<const Stream> user_streams) const {
  if (!shares_devices_) return true;
  for (std::size_t r = 0; r < user_streams.size(); ++r) {
    const Device& device = *ranks_[r].device;
    if (ranks_on(device.id()) > 1 && device.follows_default_stream(user_streams[r])) return false;
  }
  return are_apart(user_streams);
}

// May works go straight onto the caller's streams? Not if ranks would queue up behind each other,
// and not if one work enqueues for all on the fabric's streams.
bool Fabric::runs_on(std::span<const Stream> user_streams, const Operation& operation) const {
  return !operation.info().joint && never_meet(user_streams);
}

// Whether the works go straight onto the caller's streams. Else the fabric's wait for what is
// there.
bool Fabric::place(Operation& operation, std::span<const Stream> user_streams) {
  if (user_streams.empty()) return false;
  if (runs_on(user_streams, operation)) return true;
  join_user_streams(operation, user_streams);
  return false;
}

void Fabric::join_user_streams(Operation& operation, std::span<const Stream> user_streams) {
  for (std::size_t r = operation.joined_.size(); r < ranks_.size(); ++r) {
    operation.joined_.push_back(ranks_[r].device->create_event());
  }
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    ranks_[r].device->record(operation.joined_[r], user_streams[r]);
    ranks_[r].device->wait(ranks_[r].stream, operation.joined_[r]);
  }
}

// From here on a failure, of whatever type, is a fault of the operation: ranks already launched are
// told to leave.
std::shared_ptr<Operation> Fabric::submit(std::shared_ptr<Operation> operation,
                                          std::span<const Stream> user_streams, bool straight,
                                          Graph* timed) {
  operation->commit();
  stats_.add_launch();
  in_flight_.push_back(operation);
  const auto stream_of = [&](std::size_t r) {
    return straight ? user_streams[r] : ranks_[r].stream;
  };
  // First for all ranks: a joint operation's works are all submitted with rank 0.
  for (std::size_t i = 0; i < 2 * ranks_.size(); ++i) {
    const std::size_t r = i % ranks_.size();
    try {
      if (i < ranks_.size()) {
        follow_last(r, stream_of(r));
        continue;
      }
      submit_rank(*operation, r, stream_of(r), timed);
      if (!straight && !user_streams.empty()) {
        ranks_[r].device->wait(user_streams[r], operation->ended_[r]);
      }
    } catch (...) {
      raise_abort_flag();  // first of all, as it cannot fail
      const std::size_t end = i < ranks_.size()         ? r
                              : operation->info().joint ? ranks_.size()
                                                        : r + 1;
      end_half_launched(*operation, r, end, straight ? user_streams : std::span<const Stream>());
    }
  }
  return operation;
}

// Handles what a launch threw at the rank that failed. There and on the next ranks, up to `end`,
// there may be work whose end was not recorded: a work that failed may have enqueued some of what
// it is, and a joint one on every rank's stream. `user_streams`: if works went straight onto them.
void Fabric::end_half_launched(Operation& operation, std::size_t failed, std::size_t end,
                               std::span<const Stream> user_streams) {
  const Error error = operation.blamed(current_error(), failed);
  operation.fail(error);
  for (std::size_t r = failed; r < end; ++r) {
    try {
      const Stream stream = user_streams.empty() ? ranks_[r].stream : user_streams[r];
      ranks_[r].device->record(operation.ended_[r], stream);
    } catch (const Error&) {
      continue;  // the device that failed, again
    }
  }
  poison(error);
  // What the ranks use must outlive them; they leave at once. If not, it stays in flight.
  operation.wait_until(Deadline::after_ns(kLeaveGrace));
  throw error;
}

// What comes on the stream waits for the rank's operation before, if that is on another stream, and
// for graphs that callers captured.
void Fabric::follow_last(std::size_t r, Stream stream) {
  RankState& rank = ranks_[r];
  if (has_captures_) rank.device->wait(stream, rank.captured.event);
  const std::uint64_t before = std::exchange(rank.last_stream, rank.device->id_of(stream));
  if (!rank.last_ended.handle || rank.last_stream == before) return;
  rank.device->wait(stream, rank.last_ended);
}

void Fabric::submit_rank(Operation& operation, std::size_t r, Stream stream, Graph* timed) {
  RankState& rank = ranks_[r];
  Device& device = *rank.device;
  const DeviceScope scope(device);
  if (timed) device.record(timed->starts_[r], stream);
  enqueue(operation, r, stream);
  if (timed) device.record(timed->ends_[r], stream);
  device.record(operation.ended_[r], stream);
  if (has_captures_) device.record(rank.captured.event, stream);
  rank.last_ended = operation.ended_[r];
}

void Fabric::enqueue(const Operation& operation, std::size_t r, Stream stream) {
  Device& device = *ranks_[r].device;
  const Graph* graph = operation.replayed_.get();
  if (!graph) {
    if (operation.works_[r].run) device.submit(stream, operation.works_[r]);
  } else if (r < graph->graphs_.size()) {
    device.launch(stream, graph->graphs_[r]);
  } else if (graph->graphs_.empty()) {
    for (const auto& recorded : graph->operations_) {
      if (recorded->works_[r].run) device.submit(stream, recorded->works_[r]);
    }
  } else {
    device.wait(stream, operation.ended_[0]);  // a joint graph runs on rank 0's stream
  }
}

}  // namespace weft::fabric
