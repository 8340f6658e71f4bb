// Running totals of a fabric: operations, bytes, time, errors, bytes per ordered link.
//
// Thread safety: one mutex, taken once an operation. Adding allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/function_ref.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace weft::fabric {

struct StatsSnapshot {
  std::uint64_t operations = 0;  // ended without error, empty ones included
  std::uint64_t empty = 0;       // of those, with nothing to do
  std::uint64_t failed = 0;
  std::int64_t bytes = 0;        // of one rank's vectors, summed over operations
  double seconds = 0;            // from launch to end, host clock
  double predicted_seconds = 0;  // simulated fabrics: what the machine they stand for would take
  std::vector<std::uint64_t> rank_operations;  // by rank
  std::vector<std::int64_t> link_bytes;        // world x world, row-major: pushed [from][to]
};

struct OperationTotals {
  std::int64_t bytes = 0;
  double seconds = 0;
  double predicted_seconds = 0;
};

class Stats {
 public:
  explicit Stats(WorldSize world);

  using AddLinkBytes = FunctionRef<void(std::span<std::int64_t> link_bytes)>;
  // `add_link_bytes` adds what the operation moved to the world x world totals.
  void add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes);
  void add_empty();
  void add_failure();
  StatsSnapshot snapshot() const;
  void reset();

 private:
  void clear() WEFT_THREAD_SAFETY(requires_capability(mutex_));

  std::size_t world_;
  mutable Mutex mutex_;
  StatsSnapshot totals_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft::fabric
