#include "collectives/tuner.h"

#include <algorithm>

#include "collectives/request.h"
#include "collectives/tuning/shipped.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

constexpr bool agree(const std::optional<bool>& wanted, bool is) {
  return !wanted || *wanted == is;
}

bool is_for(const TuningRow& row, std::int32_t generation, std::int32_t ranks) {
  const bool any = row.generation == kAnyGpu && generation != kSimulated;
  return (any || row.generation == generation) && (row.ranks == 0 || row.ranks == ranks);
}

void check(const TuningRow& row) {
  if (row.algorithm == Algorithm::automatic) {
    fail(ErrorCode::invalid_argument, "a row of a tuning table names an algorithm, not \"auto\"");
  }
  if (row.collectives == 0) {
    fail(ErrorCode::invalid_argument, "a row of a tuning table names a collective");
  }
  if (row.from < 0 || row.up_to < row.from) {
    fail(ErrorCode::invalid_argument, "a row of a tuning table is for sizes from 0 bytes on, not ",
         row.from, " to ", row.up_to);
  }
  if (row.blocks < 0) {
    fail(ErrorCode::invalid_argument, "a row of a tuning table has 0 blocks or more, not ",
         row.blocks);
  }
}

}  // namespace

bool fits(const TuningRow& row, const TuningCall& call) {
  const DTypeClass dtypes = call.floating ? DTypeClass::floating : DTypeClass::integral;
  return (row.collectives & only(call.collective)) != 0 && row.from <= call.bytes &&
         call.bytes <= row.up_to && (row.dtypes == DTypeClass::any || row.dtypes == dtypes) &&
         agree(row.captured, call.captured) && agree(row.in_place, call.in_place);
}

TuningTable make_table(std::int32_t generation, std::int32_t ranks,
                       std::span<const TuningRow> measured) {
  TuningTable table;
  const auto take = [&](std::span<const TuningRow> rows, bool are_measured) {
    for (const TuningRow& row : rows) {
      if (!is_for(row, generation, ranks)) continue;
      table.rows.push_back(row);
      table.rows.back().measured = are_measured;
      table.by_capture = table.by_capture || row.captured.has_value();
    }
  };
  take(measured, true);
  take(kShippedRows, false);
  return table;
}

std::vector<Algorithm> preference(const TuningTable& table, const TuningCall& call) {
  std::vector<Algorithm> order;
  for (const TuningRow& row : table.rows) {
    const bool known = std::find(order.begin(), order.end(), row.algorithm) != order.end();
    if (!known && fits(row, call)) order.push_back(row.algorithm);
  }
  return order;
}

std::int32_t generation_of(const fabric::Fabric& fabric) {
  return fabric.backend() == DeviceKind::cuda ? fabric.device(Rank(0)).generation() : kSimulated;
}

std::shared_ptr<const TuningTable> tuning(const fabric::Fabric& fabric) {
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  return s.tuning;
}

void set_tuning(fabric::Fabric& fabric, std::span<const TuningRow> measured) {
  std::for_each(measured.begin(), measured.end(), check);
  auto table = std::make_shared<const TuningTable>(
      make_table(generation_of(fabric), fabric.world().value(), measured));
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  s.tuning = std::move(table);
}

}  // namespace weft::collectives
