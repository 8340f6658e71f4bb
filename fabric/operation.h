// One operation in flight, and the handle users wait on.
//
// Invariants
//   1. The parameter block and the kept storages live until every rank's work has ended.
//   2. The result (fine, or failed with one error) is decided once, by whoever looks first after
//      the works ended; everyone sees the same.
//   3. Operations are recycled: in steady state starting one allocates nothing.
//
// Thread safety: the waits, done and error from any thread; the rest belongs to the launch.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/base/event_ring.h"
#include "core/base/function_ref.h"
#include "core/base/mutex.h"
#include "core/base/process.h"
#include "core/device/device.h"
#include "core/memory/storage.h"

namespace weft::fabric {

class Fabric;
class Graph;

inline constexpr std::int64_t kLeaveGrace = 10'000'000'000;  // ns that ranks have after an error

// What is told of an operation: goes into events, statistics and Work.info. Strings are literals;
// the numbers `dtype`, `op` and `protocol` mean what they mean in EventRecord.
struct OperationInfo {
  EventKind kind = EventKind::all_reduce;
  const char* kind_name = "";  // "all_reduce"
  const char* algorithm = "";  // "ring"
  const char* path = "";       // "zero_copy", "staged", "local"
  std::uint8_t dtype = 255;
  std::uint8_t op = 255;
  std::uint8_t protocol = 255;
  std::int64_t bytes = 0;  // of one rank's vector
  std::int32_t blocks = 0;
  std::int64_t timeout_ns = 0;     // of each device wait
  std::int64_t predicted_ns = -1;  // simulated fabrics
  std::int32_t staged_tensors = 0;
  std::int64_t staged_bytes = 0;
  // Rank 0's work enqueues for all ranks, ordered by events between devices.
  bool joint = false;
  // Adds what the operation moves to world x world totals; gets the parameter block.
  void (*add_link_bytes)(const void* params, std::span<std::int64_t> link_bytes) = nullptr;
};

class Operation {
 public:
  static constexpr std::size_t kParamBytes = 4096;

  explicit Operation(Fabric& fabric);
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  std::uint64_t id() const { return id_; }
  const OperationInfo& info() const { return info_; }
  // The token of the capture that it was recorded for (Fabric::begin_capture), and so not done; 0
  // where it was launched.
  std::uint64_t recorded_for() const { return recorded_for_; }

  // For prepare(): what is told of it, room for the plan, one work a rank (a work without a
  // function does nothing), and what must outlive the operation: storages, tables.
  OperationInfo& info() { return info_; }
  template <class Params>
  Params& params() {
    static_assert(sizeof(Params) <= kParamBytes);
    return *new (params_.data()) Params();
  }
  std::span<Work> works() { return works_; }
  void keep(std::shared_ptr<void> thing) { kept_.push_back(std::move(thing)); }
  // What the works read besides tensors: a graph of the caller's that they are captured into keeps
  // it. Its end may come on any thread and must not call the device.
  void keep_in_captures(std::shared_ptr<void> thing) { captured_ = std::move(thing); }
  // When each rank called, where they did one by one: told by its events. Empty: all at once.
  void set_arrivals(std::span<const std::int64_t> called_ns) {
    arrivals_.assign(called_ns.begin(), called_ns.end());
  }
  // Numbers that the plan refers to; keeps its room from operation to operation.
  std::vector<std::int64_t>& table() { return table_; }

  // In the child of a fork() these throw FabricClosed where the operation had not ended before:
  // there it never will.
  // Blocks until the operation ended or the deadline came; false for the latter.
  bool wait_until(Deadline deadline);
  // The same, but also false where `interrupted`, asked now and then, says yes, and kLeaveGrace
  // after the fabric was found aborted. Each wait of the ranks has a deadline of its own that
  // aborts the fabric, so that from its start on an operation is waited for so long at most.
  bool wait(Deadline deadline, const FunctionRef<bool()>& interrupted);
  bool done();
  // The ranks whose work has not ended.
  std::vector<int> unfinished();
  // Is it being recorded, and not done? For prepare().
  bool is_recorded() const { return is_recorded_; }
  // Is it known to have ended? Asks no device.
  bool decided() const {
    // sync(decided): acquire - sees error_ and all results; pairs with release in decide
    return decided_.load(std::memory_order_acquire);
  }
  // The error it ended with, once it is done.
  std::optional<Error> error();

 private:
  friend class Fabric;
  void begin(std::uint64_t id, std::int64_t enqueue_ns);  // before prepare
  // As a replay of the graph, which it keeps until it has ended.
  void describe_replay(const std::shared_ptr<const Graph>& graph, std::int64_t timeout_ns);
  bool has_ended() const noexcept;  // does not decide; false where a device fails
  void conclude();                  // decides: it is known that all works have ended
  void commit();                    // right before the works are submitted
  void drop_kept();                 // after a refusal, or of a capture
  void fail(const Error& error);    // what it will end with, whatever else happens to it
  template <class Ended>
  bool look(const Ended& ended);
  Error blamed(const Error& error, std::size_t rank) const;
  void decide(std::optional<Error> device_error);
  void record_events(bool failed, int culprit, std::int64_t end_ns);
  bool wait_until_ended(Deadline deadline, const FunctionRef<bool()>& interrupted);

  Fabric& fabric_;
  HomeProcess home_{};
  std::vector<Device*> devices_;  // one a rank; they outlive the fabric
  std::uint64_t id_ = 0;
  std::uint64_t recorded_for_ = 0;  // set before anybody else holds it, and for good
  OperationInfo info_{};
  alignas(64) std::array<std::byte, kParamBytes> params_{};
  std::vector<Work> works_;
  std::vector<Event> ended_;   // one a rank
  std::vector<Event> joined_;  // one a rank, made when user streams are first given
  std::vector<std::shared_ptr<void>> kept_;
  std::shared_ptr<void> captured_;
  std::vector<std::int64_t> table_;
  std::shared_ptr<const Graph> replayed_;       // what it is a replay of
  std::vector<std::shared_ptr<void>> dropped_;  // kept_ after the decision, to be let go of
  bool is_recorded_ = false;
  std::int64_t enqueue_ns_ = 0;
  std::vector<std::int64_t> arrivals_;
  std::int64_t launch_ns_ = 0;

  Mutex decide_mutex_;  // held while it is decided
  std::atomic<bool> decided_{true};
  std::optional<Error> error_ WEFT_THREAD_SAFETY(guarded_by(decide_mutex_));
};

}  // namespace weft::fabric
