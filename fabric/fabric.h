// A fabric: ranks bound to devices, that see each other's memory, signals and faults.
//
// Life: open -> (operations) -> [poisoned -> recover -> open] -> closed.
//
// Invariants
//   1. An operation starts on all ranks or on none: launch() submits every rank's work in one go,
//      after everything that can fail has been done. It allocates nothing.
//   2. Operations happen in the order of their launch() calls on every rank.
//   3. A rank that leaves an operation early leaves a FaultRecord; the first look at the finished
//      operation turns the records into one error, the same for every caller, and poisons the
//      fabric.
//   4. A poisoned fabric refuses operations until recover(), which waits for every stream to be
//      idle and sets all signals back to zero.
//   5. Nothing waits for ever: see Operation::wait, Rendezvous and WaitLimits.
//
// Thread safety: every method may be called from any thread. abort() never blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"
#include "core/base/event_ring.h"
#include "core/base/mutex.h"
#include "core/base/process.h"
#include "core/device/device.h"
#include "fabric/arena.h"
#include "fabric/graph.h"
#include "fabric/in_flight.h"
#include "fabric/operation.h"
#include "fabric/rendezvous.h"
#include "fabric/signal.h"
#include "fabric/stats.h"
#include "fabric/watchdog.h"
#include "topology/topology.h"

namespace weft::fabric {

class Fabric;

struct FabricOptions {
  std::vector<Device*> devices;   // one a rank; repeats allowed
  topology::Topology topology;    // of the distinct devices
  double timeout_seconds = 30.0;  // of a wait, when a call gives none
  Bytes scratch{0};               // for the slots of one rank
  std::uint32_t first_epoch = 0;  // where all counts start: tests of the 2^32 wrap
  std::int32_t blocks = 1;        // the most blocks an operation may use
  std::optional<bool> events{};   // whether they are recorded; nothing: as WEFT_EVENTS says
  // Puts the ranks' scratch as operations must find it, on the ranks' streams, by work that it
  // submits and does not wait for. Called by open() and recover(), after the signals' reset has
  // been submitted. May throw what devices throw.
  void (*prepare_scratch)(Fabric& fabric) = nullptr;
};

// Something that is no operation of the ranks, as its event tells it (python/weft/events.py).
struct Notice {
  EventKind kind{};
  std::int64_t begin_ns = 0;  // now_ns(); it ends when it is recorded. 0: it took no time
  std::uint64_t operation = EventRecord::kNoOperation;
  std::int32_t rank = -1;
  std::int64_t bytes = 0;
  std::uint8_t dtype = 255;
  std::string_view path{};
  std::int32_t culprit = -1;
  bool failed = false;
};

class Fabric {
 public:
  // Throws PeerAccessError, OutOfMemory, CudaError, InvalidArgument; then nothing is left behind.
  static std::shared_ptr<Fabric> open(FabricOptions options);
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  WorldSize world() const { return WorldSize(static_cast<std::int32_t>(ranks_.size())); }
  DeviceKind backend() const { return backend_; }
  Device& device(Rank rank) const { return *ranks_[index(rank)].device; }
  Stream stream(Rank rank) const { return ranks_[index(rank)].stream; }
  const Arena& arena(Rank rank) const { return ranks_[index(rank)].arena; }
  int ranks_on(DeviceId device) const;
  const topology::Topology& topology() const { return topology_; }
  bool peer_access(Rank from, Rank to) const;
  std::int64_t timeout_ns() const { return timeout_ns_; }
  std::uint32_t* abort_flag() const { return abort_flag_; }
  FaultRecord* fault_record(Rank rank, std::int32_t block) const;

  // Runs one work a rank. `prepare` fills the operation (see operation.h) under the launch lock; it
  // may throw, and then nothing has happened. `user_streams`, one a rank or none: the works wait
  // for what is on them now, and what comes on them later waits for the works.
  using PrepareFn = FunctionRef<void(Operation&)>;
  // Streams that are being captured record the works, and nothing waits for them here.
  std::shared_ptr<Operation> launch(const PrepareFn& prepare,
                                    std::span<const Stream> user_streams = {});
  // What is launched between the two calls is recorded and not done; its operations look as if they
  // had ended. InvalidArgument for a second capture at once, or an end without a begin. `token`,
  // not 0, is the caller's: its operations tell it (Operation::recorded_for), and only the capture
  // that has it is dropped.
  void begin_capture(std::uint64_t token = 1);
  std::shared_ptr<Graph> end_capture();
  void drop_capture(std::uint64_t token = 1) noexcept;
  bool capturing() const;
  // Are these streams, one a rank or none, being captured into their caller's graph? Throws
  // InvalidArgument if only some are, or if ranks of one device share one.
  bool are_capturing(std::span<const Stream> user_streams) const;
  // InvalidArgument if operations cannot be put on it, or on one of them; one a rank.
  void check_stream(Rank rank, Stream user_stream) const;
  void check_streams(std::span<const Stream> user_streams) const;
  // Runs a graph of this fabric, after what is on `user_streams` now. `timed`: see
  // Graph::elapsed_us.
  std::shared_ptr<Operation> replay(const std::shared_ptr<Graph>& graph,
                                    std::span<const Stream> user_streams, bool timed);
  // Blocks until all ranks came, then the last one calls `launch` for all. See rendezvous.h. A
  // timeout poisons the fabric, counts as a failure, and is an event of kind `fault` of the rank
  // that noticed it.
  // `interrupted` is asked now and then by ranks that wait: true ends the round; once the last rank
  // launches, it aborts what is launched, and the round ends with that.
  using Interrupted = FunctionRef<bool()>;
  std::shared_ptr<Operation> meet(const Rendezvous::Arrival& arrival,
                                  const Rendezvous::Launch& launch, const Interrupted& interrupted);

  // A rank that cannot take part, and does not come to the meeting: see Rendezvous::refuse.
  void refuse(Rank rank, const Error& refusal);

  // For an operation that its caller does not wait for: see watchdog.h.
  void watch(std::shared_ptr<Operation> operation) { watchdog_.watch(std::move(operation)); }

  // The same as check_usable(), after a look at what has ended and at what callers captured.
  void check();
  // Throws FabricClosed or FabricPoisoned unless operations may start.
  // A fabric does not survive fork(): its threads are not in the child. There every call is refused
  // (FabricClosed), closing does nothing, and what open() gave is never destroyed.
  void check_usable() const;
  // Finds out what has ended, unless a launch is under way just now. Waits for no operation.
  void notice_ended();
  // What the fabric was poisoned by, until recover().
  std::optional<std::string> poison_cause() const;
  // Calls f() while nothing is in flight and nothing is launched; false: the deadline came first.
  bool while_idle(Deadline deadline, FunctionRef<void()> f);
  // Have the ranks been told to leave, by a fault or an abort, and not recovered since?
  bool is_aborted() const;
  // Makes every wait of every rank end, and poisons the fabric. Idempotent.
  void abort(const std::string& reason);
  // Waits for all streams to be idle, sets the signals back and opens the fabric again; nothing to
  // do on a fabric without a fault. Throws FabricClosed, or CollectiveTimeout if a stream stays
  // busy.
  void recover();
  // Waits for what is in flight, aborts it after the fabric's timeout, gives everything back.
  void close();
  bool closed() const;

  // What the layer above keeps with a fabric. Set once, right after open().
  std::shared_ptr<void> extension;

  EventRing& events() { return events_; }
  bool records_events() const { return events_on_; }
  // Does nothing where events are not recorded.
  void record_event(const Notice& notice) noexcept;
  Stats& stats() { return stats_; }

 private:
  friend class Operation;
  enum class State : std::uint8_t { open, poisoned, closed };
  struct RankState {
    Device* device = nullptr;
    Stream stream{};
    Arena arena{};
    // Where its last operation was put (Device::id_of), and the event of that operation's end.
    std::uint64_t last_stream = 0;
    Event last_ended{};
    CaptureLink captured{};           // has an event from the first capture on
    mutable void* checked = nullptr;  // the stream in which no problem was found last
  };

  explicit Fabric(const FabricOptions& options);
  static std::size_t index(Rank rank) { return static_cast<std::size_t>(rank.value()); }
  bool forked() const { return home_.left(); }
  void open_ranks(const FabricOptions& options);
  void enable_peers();
  void refuse_quarantined(DeviceId from, DeviceId to) const;
  void abandon() noexcept;  // what open_ranks made before it failed
  void release() noexcept WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void finish_streams();
  void reset_signals();
  void synchronize(const Operation& barrier) const;  // throws CollectiveTimeout
  void decide_ended() WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void decide_some(std::int64_t now) WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  std::shared_ptr<Operation> idle_operation()
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  std::shared_ptr<Operation> record(const PrepareFn& prepare, std::int64_t enqueue_ns)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  std::shared_ptr<Operation> submit(std::shared_ptr<Operation> operation,
                                    std::span<const Stream> user_streams, bool straight,
                                    Graph* timed)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void follow_last(std::size_t r, Stream stream)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void submit_rank(Operation& operation, std::size_t r, Stream stream, Graph* timed)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void enqueue(const Operation& operation, std::size_t r, Stream stream)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  [[noreturn]] void end_half_launched(Operation& operation, std::size_t failed, std::size_t end,
                                      std::span<const Stream> user_streams)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  bool notice_captured_fault() WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void look_at_captures();
  void link_captures() WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  bool captures_ended(Deadline deadline) WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  std::shared_ptr<Operation> launch_captured(const PrepareFn& prepare,
                                             std::span<const Stream> user_streams,
                                             std::int64_t enqueue_ns)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  bool are_apart(std::span<const Stream> user_streams) const;
  bool never_meet(std::span<const Stream> user_streams) const;
  bool place(Operation& operation, std::span<const Stream> user_streams);
  bool runs_on(std::span<const Stream> user_streams, const Operation& operation) const;
  void join_user_streams(Operation& operation, std::span<const Stream> user_streams);
  void take_back(std::shared_ptr<Operation> operation)
      WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void join_ranks(const Graph& graph) WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  void instantiate(Graph& graph);
  void instantiate_joint(Graph& graph);
  std::span<const FaultRecord> fault_records() const;
  std::optional<Error> fault_of(const Operation& operation) const;
  void record_fault(const Error& error, Rank rank, std::int64_t since_ns);
  bool poison(const Error& cause);        // and end the open rendezvous
  bool poison_state(const Error& cause);  // the rest of it; whether it was open
  void raise_abort_flag();
  bool drain(Deadline deadline) WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));
  bool become_idle(Deadline deadline) WEFT_THREAD_SAFETY(requires_capability(launch_mutex_));

  HomeProcess home_{};
  DeviceKind backend_;
  topology::Topology topology_;
  std::int64_t timeout_ns_;
  std::uint32_t first_epoch_;
  std::int32_t blocks_;
  void (*prepare_scratch_)(Fabric& fabric);
  std::vector<RankState> ranks_;
  bool shares_devices_ = false;           // some ranks do
  std::uint32_t* abort_flag_ = nullptr;   // pinned
  FaultRecord* fault_records_ = nullptr;  // pinned, world x blocks
  std::byte* header_ = nullptr;           // pinned: an arena's signals and progress as they start

  // Taken in this order: launch_mutex_, an operation's, the rendezvous', state_mutex_, statistics.
  mutable Mutex launch_mutex_;  // the order of operations
  // Operations end in the order of their launch: only the first in flight has to be looked at.
  std::int64_t looked_ns_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_)) = 0;
  bool has_captures_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_)) = false;  // of callers
  InFlight in_flight_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_));
  std::vector<std::shared_ptr<Operation>> ended_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_));
  std::uint64_t next_id_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_)) = 0;
  std::shared_ptr<Graph> recording_ WEFT_THREAD_SAFETY(guarded_by(launch_mutex_));

  mutable Mutex state_mutex_;
  State state_ WEFT_THREAD_SAFETY(guarded_by(state_mutex_)) = State::open;
  std::optional<Error> poison_cause_ WEFT_THREAD_SAFETY(guarded_by(state_mutex_));

  Rendezvous rendezvous_;
  bool events_on_;
  EventRing events_;
  Stats stats_;
  Watchdog watchdog_;  // last: its thread ends before anything it looks at
};

}  // namespace weft::fabric
