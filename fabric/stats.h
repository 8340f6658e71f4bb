// Running totals of a fabric: operations, bytes, time, errors, bytes per ordered link; and of each
// kind of operation and algorithm. Besides, what is under way.
//
// Invariants
//   1. In every snapshot an operation that was launched has either ended or is in flight, and
//      peak_in_flight >= in_flight.
//   2. add_launch() comes before the end of its operation is added.
//
// Thread safety: one mutex, taken once an operation, when it has ended; a launch takes none. Adding
// allocates only for the first operation of a kind and algorithm, and for the first error of a
// kind.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/base/function_ref.h"
#include "core/base/histogram.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace weft::fabric {

// Of the operations of one kind by one algorithm. Names are literals.
struct KindTotals {
  const char* kind = "";
  const char* algorithm = "";
  std::uint64_t operations = 0;  // ended without error
  std::uint64_t failed = 0;
  std::int64_t bytes = 0;  // of one rank's vectors, of those without error
  double seconds = 0;
  Histogram times{};  // ns, of those without error, from launch to when the end was seen
};

struct ErrorCount {
  ErrorCode code{};
  std::uint64_t count = 0;
};

struct StatsSnapshot {
  std::uint64_t operations = 0;  // ended without error, empty ones included
  std::uint64_t empty = 0;       // of those, with nothing to do
  std::uint64_t failed = 0;
  std::int64_t bytes = 0;        // of one rank's vectors, summed over operations
  double seconds = 0;            // from launch to end, host clock
  double predicted_seconds = 0;  // simulated fabrics: what the machine they stand for would take
  std::uint64_t staged_tensors = 0;  // copied before or after an operation, of those without error
  std::int64_t staged_bytes = 0;
  std::uint64_t in_flight = 0;                 // launched, and not known to have ended
  std::uint64_t peak_in_flight = 0;            // the most there were since opening or reset()
  std::vector<std::uint64_t> rank_operations;  // by rank
  std::vector<std::int64_t> link_bytes;        // world x world, row-major: pushed [from][to]
  std::vector<KindTotals> kinds;               // in the order of their first operation
  std::vector<ErrorCount> errors;              // in the order of the first of a kind
};

struct OperationTotals {
  const char* kind = "";
  const char* algorithm = "";
  std::int64_t bytes = 0;
  std::int64_t ns = 0;
  double predicted_seconds = 0;
  std::int32_t staged_tensors = 0;
  std::int64_t staged_bytes = 0;
};

class Stats {
 public:
  explicit Stats(WorldSize world);

  // Of one launch at a time.
  void add_launch();
  using AddLinkBytes = FunctionRef<void(std::span<std::int64_t> link_bytes)>;
  // `add_link_bytes` adds what the operation moved to the world x world totals.
  void add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes);
  void add_empty();
  void add_failure(ErrorCode code, const char* kind, const char* algorithm);
  // Of no operation, as of a meeting that failed.
  void add_fault(ErrorCode code);
  StatsSnapshot snapshot();
  void reset();

 private:
  KindTotals& of(const char* kind, const char* algorithm)
      WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void count_failure(ErrorCode code) WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void count_end() WEFT_THREAD_SAFETY(requires_capability(mutex_));
  std::uint64_t in_flight() const WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void raise_peak(std::uint64_t count);
  void clear() WEFT_THREAD_SAFETY(requires_capability(mutex_));

  std::size_t world_;
  Mutex mutex_;
  StatsSnapshot totals_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  // Never set back. A launch reads and writes them without the mutex; all that orders them is
  // invariant 2 and the mutex under which ends are added.
  std::atomic<std::uint64_t> launched_{0};
  std::atomic<std::uint64_t> ended_{0};  // written under the mutex
  std::atomic<std::uint64_t> peak_{0};
};

}  // namespace weft::fabric
