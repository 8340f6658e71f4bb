// Operations that are recorded instead of done: into graphs of weft's own (graph.h), and into those
// of callers who capture their streams.
#include <algorithm>
#include <atomic>
#include <cstdio>

#include "fabric/fabric.h"
#include "fabric/fault.h"
#include "fabric/graph.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kDrainGrace = 10'000'000'000;  // ns that operations before a capture have

}  // namespace

void Fabric::check_stream(Rank rank, Stream user_stream) const {
  const std::atomic_ref checked(ranks_[index(rank)].checked);
  if (checked.load(std::memory_order_relaxed) == user_stream.handle) return;
  // To be asked whose it is ends the capture of a stream.
  if (device(rank).is_capturing(user_stream)) return;
  const auto problem = device(rank).stream_problem(user_stream);
  if (!problem) return checked.store(user_stream.handle, std::memory_order_relaxed);
  throw Error(ErrorCode::invalid_argument, concat("rank ", rank, "'s stream: ", *problem),
              {.rank = rank.value(), .device = device(rank).id().str()});
}

void Fabric::check_streams(std::span<const Stream> user_streams) const {
  for (std::size_t r = 0; r < std::min(user_streams.size(), ranks_.size()); ++r) {
    check_stream(Rank(static_cast<std::int32_t>(r)), user_streams[r]);
  }
}

bool Fabric::are_capturing(std::span<const Stream> user_streams) const {
  std::size_t capturing = 0;
  for (std::size_t r = 0; r < user_streams.size(); ++r) {
    if (ranks_[r].device->is_capturing(user_streams[r])) ++capturing;
  }
  if (capturing != 0 && capturing != user_streams.size()) {
    fail(ErrorCode::invalid_argument, capturing, " of ", user_streams.size(),
         " streams are being captured into a graph: all or none");
  }
  if (capturing != 0 && !are_apart(user_streams)) {
    fail(ErrorCode::invalid_argument,
         "ranks of one device are captured on one stream, where they would wait for each other");
  }
  return capturing != 0;
}

// The events that put callers' graphs among other operations, and now stand for those until now.
void Fabric::link_captures() {
  for (RankState& rank : ranks_) {
    if (!rank.captured.event.handle) rank.captured.event = rank.device->create_event();
    if (rank.last_ended.handle) rank.device->wait(rank.stream, rank.last_ended);
    rank.device->record(rank.captured.event, rank.stream);
  }
}

// Have all launches of callers' graphs ended?
bool Fabric::captures_ended(Deadline deadline) {
  if (!has_captures_) return true;
  for (const RankState& rank : ranks_) {
    try {
      if (!rank.device->synchronize(rank.captured.event, deadline)) return false;
    } catch (const Error&) {  // on a device that is lost nothing runs
      raise_abort_flag();
    }
  }
  return true;
}

// While a stream is captured nothing may be asked of any event: this uses an operation of its own.
// The caller's graph gets the works, with copies of their parameters, and with waits that put them
// among the rank's other operations in the order in which they are launched.
std::shared_ptr<Operation> Fabric::launch_captured(const PrepareFn& prepare,
                                                   std::span<const Stream> user_streams,
                                                   std::int64_t enqueue_ns) {
  check_usable();
  if (recording_) fail(ErrorCode::invalid_argument, "two captures at once");
  if (!has_captures_) link_captures();
  auto operation = std::make_shared<Operation>(*this);
  operation->begin(next_id_, enqueue_ns);
  prepare(*operation);
  ++next_id_;
  has_captures_ = true;
  watchdog_.keep_looking([this] { look_at_captures(); });
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    ranks_[r].device->enter_capture(user_streams[r], ranks_[r].captured);
  }
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    if (!operation->works_[r].run) continue;
    ranks_[r].device->submit(user_streams[r], operation->works_[r]);
    if (!operation->captured_) continue;
    ranks_[r].device->keep_with_capture(user_streams[r], operation->captured_);
  }
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    ranks_[r].device->leave_capture(user_streams[r], ranks_[r].captured);
  }
  operation->drop_kept();
  return operation;
}

// Of no operation that weft knows to have been launched. True: there is one, found now.
bool Fabric::notice_captured_fault() {
  if (!has_captures_ || !in_flight_.empty() || !abort_flag_) return false;  // closed: no flag
  if (std::atomic_ref(*abort_flag_).load(std::memory_order_relaxed) == 0) return false;
  {
    const MutexLock state_lock(state_mutex_);
    if (state_ != State::open) return false;
  }
  const std::span<const FaultRecord> records = fault_records();
  const Error error =
      error_from_records(records, world(), blocks_, newest_fault(records), "captured operation",
                         timeout_ns_)
          .value_or(Error(ErrorCode::collective_aborted, "a captured operation was aborted"));
  poison(error);
  record_fault(error, Rank(error.context().rank.value_or(0)), now_ns());
  return true;
}

// The watchdog's: whoever only replays graphs calls nothing that could raise, and a graph with a
// fault behind it does nothing. close() holds the lock while it waits for the watchdog.
void Fabric::look_at_captures() {
  if (!launch_mutex_.try_lock()) return;
  decide_ended();  // before a fault of a graph can be taken for theirs
  const bool found = notice_captured_fault();
  launch_mutex_.unlock();
  if (!found) return;
  std::string cause;
  {
    const MutexLock lock(state_mutex_);
    if (!poison_cause_) return;
    cause = poison_cause_->message();
  }
  std::fprintf(stderr,
               "weft: graphs captured on a fabric with a fault do nothing until recover(): %s\n",
               cause.c_str());
}

std::shared_ptr<Operation> Fabric::record(const PrepareFn& prepare, std::int64_t enqueue_ns) {
  auto operation = std::make_shared<Operation>(*this);
  operation->begin(next_id_, enqueue_ns);
  operation->recorded_for_ = recording_->token_;
  prepare(*operation);
  ++next_id_;
  recording_->operations_.push_back(operation);
  return operation;
}

void Fabric::begin_capture(std::uint64_t token) {
  if (forked()) check_usable();
  const MutexLock lock(launch_mutex_);
  check_usable();
  if (recording_) fail(ErrorCode::invalid_argument, "the fabric is already being captured");
  std::vector<Device*> devices;
  for (const RankState& rank : ranks_) devices.push_back(rank.device);
  recording_ = std::make_shared<Graph>(std::move(devices), token);
}

std::shared_ptr<Graph> Fabric::end_capture() {
  const MutexLock lock(launch_mutex_);
  if (!recording_) fail(ErrorCode::invalid_argument, "the fabric is not being captured");
  const std::shared_ptr<Graph> graph = std::exchange(recording_, nullptr);
  check_usable();
  graph->joint_ = std::any_of(graph->operations_.begin(), graph->operations_.end(),
                              [](const auto& operation) { return operation->info().joint; });
  Notice notice{.kind = EventKind::capture, .begin_ns = graph->begun_ns_};
  for (const auto& operation : graph->operations_) notice.bytes += operation->info().bytes;
  if (!ranks_.front().device->has_graphs()) {
    record_event(notice);
    return graph;
  }
  // Streams that are captured take no waits from outside: everything before has to have ended.
  if (!drain(Deadline::after_ns(kDrainGrace))) {
    fail(ErrorCode::collective_timeout, "capture: operations are still under way");
  }
  graph->joint_ ? instantiate_joint(*graph) : instantiate(*graph);
  record_event(notice);
  return graph;
}

void Fabric::drop_capture(std::uint64_t token) noexcept {
  const MutexLock lock(launch_mutex_);
  if (recording_ && recording_->token_ == token) recording_.reset();
}

bool Fabric::capturing() const {
  const MutexLock lock(launch_mutex_);
  return recording_ != nullptr;
}

void Fabric::instantiate(Graph& graph) {
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    Device& device = *ranks_[r].device;
    device.begin_capture(ranks_[r].stream);
    std::optional<Error> error;
    for (const auto& recorded : graph.operations_) {
      try {
        if (recorded->works_[r].run) device.submit(ranks_[r].stream, recorded->works_[r]);
      } catch (const Error& caught) {
        error = caught;
        break;
      }
    }
    graph.graphs_.push_back(device.end_capture(ranks_[r].stream));
    if (error) throw *error;
  }
}

// One device graph: it begins on rank 0's stream, and the others join it and come back.
void Fabric::instantiate_joint(Graph& graph) {
  for (const RankState& rank : ranks_) graph.edges_.push_back(rank.device->create_event());
  Device& first = *ranks_.front().device;
  first.begin_capture(ranks_.front().stream);
  std::optional<Error> error;
  try {
    first.record(graph.edges_.front(), ranks_.front().stream);
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      ranks_[r].device->wait(ranks_[r].stream, graph.edges_.front());
    }
    for (const auto& recorded : graph.operations_) {
      for (std::size_t r = 0; r < ranks_.size(); ++r) {
        const Work& work = recorded->works_[r];
        if (work.run) ranks_[r].device->submit(ranks_[r].stream, work);
      }
    }
    for (std::size_t r = 1; r < ranks_.size(); ++r) {
      ranks_[r].device->record(graph.edges_[r], ranks_[r].stream);
      first.wait(ranks_.front().stream, graph.edges_[r]);
    }
  } catch (const Error& caught) {
    error = caught;
  }
  graph.graphs_.push_back(first.end_capture(ranks_.front().stream));
  if (error) throw *error;
}

// A joint graph starts on rank 0's stream, after what is on every rank's.
void Fabric::join_ranks(const Graph& graph) {
  Device& first = *ranks_.front().device;
  const Stream origin = ranks_.front().stream;
  for (std::size_t r = 1; r < ranks_.size(); ++r) {
    ranks_[r].device->record(graph.edges_[r], ranks_[r].stream);
    first.wait(origin, graph.edges_[r]);
    if (ranks_[r].last_ended.handle) first.wait(origin, ranks_[r].last_ended);
    if (has_captures_) first.wait(origin, ranks_[r].captured.event);
  }
}

std::shared_ptr<Operation> Fabric::replay(const std::shared_ptr<Graph>& graph,
                                          std::span<const Stream> user_streams, bool timed) {
  const std::int64_t enqueue_ns = now_ns();
  if (forked()) check_usable();
  const MutexLock lock(launch_mutex_);
  // Its records have the numbers of when it was recorded: what has ended must not be taken for it.
  decide_ended();
  static_cast<void>(notice_captured_fault());
  check_usable();
  if (recording_) fail(ErrorCode::invalid_argument, "a graph cannot be replayed into a capture");
  const bool can_time = timed && ranks_.front().device->has_graphs();
  for (std::size_t r = graph->starts_.size(); can_time && r < ranks_.size(); ++r) {
    graph->starts_.push_back(ranks_[r].device->create_timed_event());
    graph->ends_.push_back(ranks_[r].device->create_timed_event());
  }
  std::shared_ptr<Operation> operation = idle_operation();
  operation->begin(next_id_, enqueue_ns);
  bool straight = false;
  try {
    operation->describe_replay(graph, timeout_ns_);
    straight = place(*operation, user_streams);
    if (graph->joint_) join_ranks(*graph);
  } catch (...) {
    take_back(std::move(operation));
    throw;
  }
  ++next_id_;
  return submit(std::move(operation), user_streams, straight, can_time ? graph.get() : nullptr);
}

}  // namespace weft::fabric
