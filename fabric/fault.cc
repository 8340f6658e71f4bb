#include "fabric/fault.h"

#include <algorithm>
#include <atomic>

namespace weft::fabric {
namespace {

bool waited(const FaultRecord& record) {
  return (record.outcome == Outcome::timeout || record.outcome == Outcome::aborted) &&
         record.peer >= 0;
}

// A record may be written while it is read, by a later operation of its rank.
Outcome outcome_of(const FaultRecord& record) {
  // sync(fault): acquire - sees the whole record; pairs with release in Waiter::give_up
  return std::atomic_ref(const_cast<Outcome&>(record.outcome)).load(std::memory_order_acquire);
}

bool less_advanced(const FaultRecord& a, const FaultRecord& b) {
  return a.step != b.step ? a.step < b.step : a.seen < b.seen;
}

// Each rank's record that tells most: of its blocks, the least advanced that waited, else any.
std::vector<FaultRecord> by_rank(std::span<const FaultRecord> records, WorldSize world,
                                 std::int32_t blocks, std::uint64_t id) {
  std::vector<FaultRecord> result(static_cast<std::size_t>(world.value()));
  for (std::int32_t r = 0; r < world.value(); ++r) {
    FaultRecord& best = result[static_cast<std::size_t>(r)];
    for (std::int32_t b = 0; b < blocks; ++b) {
      const FaultRecord& record = records[static_cast<std::size_t>(r * blocks + b)];
      if (outcome_of(record) == Outcome::ok || record.operation > id) continue;
      const bool better = best.outcome == Outcome::ok || (waited(record) && !waited(best)) ||
                          (waited(record) == waited(best) && less_advanced(record, best));
      if (better) best = record;
    }
  }
  return result;
}

std::string list_of(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) text += concat(i ? ", " : "", ranks[i]);
  return text;
}

std::string describe(const FaultRecord& record) {
  const char* what = record.awaited == Awaited::data ? "pieces" : "free slots";
  return concat("rank ", record.rank, " at step ", record.step, " had seen ", record.seen, " of ",
                record.expected, " ", what, " from rank ", record.peer);
}

}  // namespace

std::uint64_t newest_fault(std::span<const FaultRecord> records) {
  std::uint64_t newest = 0;
  for (const FaultRecord& record : records) {
    if (outcome_of(record) != Outcome::ok) newest = std::max(newest, record.operation);
  }
  return newest;
}

std::vector<int> find_culprits(std::span<const FaultRecord> records) {
  std::vector<int> culprits;
  for (std::size_t start = 0; start < records.size(); ++start) {
    if (!waited(records[start])) continue;
    std::vector<bool> passed(records.size());
    std::size_t at = start;
    std::size_t least = start;
    while (waited(records[at]) && !passed[at]) {
      passed[at] = true;
      if (less_advanced(records[at], records[least])) least = at;
      at = static_cast<std::size_t>(records[at].peer);
    }
    culprits.push_back(static_cast<int>(waited(records[at]) ? least : at));
  }
  std::sort(culprits.begin(), culprits.end());
  culprits.erase(std::unique(culprits.begin(), culprits.end()), culprits.end());
  return culprits;
}

std::optional<Error> error_from_records(std::span<const FaultRecord> records, WorldSize world,
                                        std::int32_t blocks, std::uint64_t id, const char* kind,
                                        std::int64_t timeout_ns) {
  const std::vector<FaultRecord> ranks = by_rank(records, world, blocks, id);
  const auto with = [&](std::span<const FaultRecord> among, Outcome outcome) {
    return std::find_if(among.begin(), among.end(), [&](const FaultRecord& record) {
      return outcome_of(record) == outcome && record.operation <= id;
    });
  };
  // Of all blocks: the one that timed out need not be its rank's least advanced.
  const auto late = with(records, Outcome::timeout);
  if (late == records.end()) {
    const std::span<const FaultRecord> told(ranks);
    const auto left = with(told, Outcome::aborted);
    if (left == told.end()) return std::nullopt;
    return Error(
        ErrorCode::collective_aborted,
        concat(kind, " #", id, " was aborted; rank ", left->rank, " was at step ", left->step),
        {.rank = left->rank, .step = left->step});
  }
  ErrorContext context{.rank = late->rank, .step = late->step, .culprits = find_culprits(ranks)};
  if (context.culprits.empty()) context.culprits = {late->rank};  // it waited for nobody else
  const char* whose = context.culprits.size() > 1 ? "their" : "its";
  const std::string culprits = list_of(context.culprits);
  return Error(ErrorCode::collective_timeout,
               concat(kind, " #", id, ": ", culprits, " did not do ", whose, " part within ",
                      static_cast<double>(timeout_ns) * 1e-9, " s; ", describe(*late)),
               std::move(context));
}

}  // namespace weft::fabric
