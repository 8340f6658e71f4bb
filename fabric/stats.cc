#include "fabric/stats.h"

namespace weft::fabric {

Stats::Stats(WorldSize world) : world_(static_cast<std::size_t>(world.value())) { reset(); }

void Stats::clear() {
  totals_ = StatsSnapshot{};
  totals_.rank_operations.assign(world_, 0);
  totals_.link_bytes.assign(world_ * world_, 0);
}

void Stats::add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes) {
  const MutexLock lock(mutex_);
  ++totals_.operations;
  totals_.bytes += operation.bytes;
  totals_.seconds += operation.seconds;
  totals_.predicted_seconds += operation.predicted_seconds;
  for (auto& count : totals_.rank_operations) ++count;
  add_link_bytes(totals_.link_bytes);
}

void Stats::add_empty() {
  const MutexLock lock(mutex_);
  ++totals_.operations;
  ++totals_.empty;
  for (auto& count : totals_.rank_operations) ++count;
}

void Stats::add_failure() {
  const MutexLock lock(mutex_);
  ++totals_.failed;
}

StatsSnapshot Stats::snapshot() const {
  const MutexLock lock(mutex_);
  return totals_;
}

void Stats::reset() {
  const MutexLock lock(mutex_);
  clear();
}

}  // namespace weft::fabric
