#include "fabric/stats.h"

#include <algorithm>
#include <cstring>

namespace weft::fabric {

Stats::Stats(WorldSize world) : world_(static_cast<std::size_t>(world.value())) { reset(); }

void Stats::clear() {
  totals_ = StatsSnapshot{};
  totals_.rank_operations.assign(world_, 0);
  totals_.link_bytes.assign(world_ * world_, 0);
}

void Stats::add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes) {
  const MutexLock lock(mutex_);
  const double seconds = static_cast<double>(operation.ns) * 1e-9;
  ++totals_.operations;
  totals_.bytes += operation.bytes;
  totals_.seconds += seconds;
  KindTotals& kind = of(operation.kind, operation.algorithm);
  ++kind.operations;
  kind.bytes += operation.bytes;
  kind.seconds += seconds;
  kind.times.add(operation.ns);
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

void Stats::add_failure(ErrorCode code, const char* kind, const char* algorithm) {
  const MutexLock lock(mutex_);
  ++totals_.failed;
  if (*kind != 0) ++of(kind, algorithm).failed;
  const auto same = [&](const ErrorCount& one) { return one.code == code; };
  const auto found = std::find_if(totals_.errors.begin(), totals_.errors.end(), same);
  if (found == totals_.errors.end()) {
    totals_.errors.push_back({code, 1});
  } else {
    ++found->count;
  }
}

KindTotals& Stats::of(const char* kind, const char* algorithm) {
  for (KindTotals& one : totals_.kinds) {
    if (std::strcmp(one.kind, kind) == 0 && std::strcmp(one.algorithm, algorithm) == 0) return one;
  }
  KindTotals& made = totals_.kinds.emplace_back();
  made.kind = kind;
  made.algorithm = algorithm;
  return made;
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
