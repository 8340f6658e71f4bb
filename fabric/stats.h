// Running totals of a fabric: operations, bytes, time, errors, bytes per ordered link; and of each
// kind of operation and algorithm.
//
// Thread safety: one mutex, taken once an operation. Adding allocates only for the first operation
// of a kind and algorithm, and for the first error of a kind.
#pragma once

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
};

class Stats {
 public:
  explicit Stats(WorldSize world);

  using AddLinkBytes = FunctionRef<void(std::span<std::int64_t> link_bytes)>;
  // `add_link_bytes` adds what the operation moved to the world x world totals.
  void add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes);
  void add_empty();
  // Of an operation; `kind` is empty where there is none, as of a meeting that failed.
  void add_failure(ErrorCode code, const char* kind = "", const char* algorithm = "");
  StatsSnapshot snapshot() const;
  void reset();

 private:
  KindTotals& of(const char* kind, const char* algorithm)
      WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void clear() WEFT_THREAD_SAFETY(requires_capability(mutex_));

  std::size_t world_;
  mutable Mutex mutex_;
  StatsSnapshot totals_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft::fabric
