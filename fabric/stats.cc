#include "fabric/stats.h"

#include <algorithm>
#include <cstring>

namespace weft::fabric {

Stats::Stats(WorldSize world) : world_(static_cast<std::size_t>(world.value())) { reset(); }

void Stats::clear() {
  totals_ = StatsSnapshot{};
  totals_.rank_operations.assign(world_, 0);
  totals_.link_bytes.assign(world_ * world_, 0);
  peak_.store(in_flight(), std::memory_order_relaxed);
}

void Stats::add_launch() {
  const std::uint64_t launched = launched_.fetch_add(1, std::memory_order_relaxed) + 1;
  raise_peak(launched - ended_.load(std::memory_order_relaxed));
}

// A snapshot that falls between a launch and its peak raises the peak itself.
void Stats::raise_peak(std::uint64_t count) {
  std::uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < count && !peak_.compare_exchange_weak(peak, count, std::memory_order_relaxed)) {
  }
}

std::uint64_t Stats::in_flight() const {
  return launched_.load(std::memory_order_relaxed) - ended_.load(std::memory_order_relaxed);
}

void Stats::count_end() { ended_.fetch_add(1, std::memory_order_relaxed); }

void Stats::add_operation(const OperationTotals& operation, const AddLinkBytes& add_link_bytes) {
  const MutexLock lock(mutex_);
  count_end();
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
  totals_.staged_tensors += static_cast<std::uint64_t>(operation.staged_tensors);
  totals_.staged_bytes += operation.staged_bytes;
  for (auto& count : totals_.rank_operations) ++count;
  add_link_bytes(totals_.link_bytes);
}

void Stats::add_empty() {
  const MutexLock lock(mutex_);
  count_end();
  ++totals_.operations;
  ++totals_.empty;
  for (auto& count : totals_.rank_operations) ++count;
}

void Stats::add_failure(ErrorCode code, const char* kind, const char* algorithm) {
  const MutexLock lock(mutex_);
  count_end();
  if (*kind != 0) ++of(kind, algorithm).failed;
  count_failure(code);
}

void Stats::add_fault(ErrorCode code) {
  const MutexLock lock(mutex_);
  count_failure(code);
}

void Stats::count_failure(ErrorCode code) {
  ++totals_.failed;
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

StatsSnapshot Stats::snapshot() {
  const MutexLock lock(mutex_);
  StatsSnapshot now = totals_;
  now.in_flight = in_flight();
  raise_peak(now.in_flight);
  now.peak_in_flight = peak_.load(std::memory_order_relaxed);
  return now;
}

void Stats::reset() {
  const MutexLock lock(mutex_);
  clear();
}

}  // namespace weft::fabric
