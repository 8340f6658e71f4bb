// Checks of single steps. See shape.h.
#include "collectives/schedule/shape.h"

#include <cstddef>

#include "core/base/error.h"

namespace weft::schedule {
namespace {

std::optional<std::string> target_problem(const Step& step, bool is_peer) {
  if (step.target != Target::none && !is_peer) {
    return concat("pushes to rank ", step.to, ", which is no peer");
  }
  if (step.target == Target::none && step.to != kNobody) {
    return concat("names rank ", step.to, " but pushes nothing");
  }
  return std::nullopt;
}

std::optional<std::string> source_problem(const Step& step, bool is_peer) {
  if (step.from != kNobody && !is_peer) {
    return concat("waits for rank ", step.from, ", which is no peer");
  }
  switch (step.source) {
    case Source::input:
      if (step.from == kNobody) break;
      return concat("waits for a piece from rank ", step.from, " and does not read it");
    case Source::input_plus_slot:
      if (step.from != kNobody) break;
      return "reads a slot without waiting for anybody to fill it";
    case Source::output:
      if (step.last_sum) return "marks a last sum, but reduces nothing";
      if (step.keep) return "keeps what it read from its own output";
      break;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> shape_problem(const Schedule& schedule) {
  const int n = schedule.world.value();
  if (n < 1 || schedule.programs.size() != static_cast<std::size_t>(n)) {
    return concat("the schedule has ", schedule.programs.size(), " programs for ", n, " ranks");
  }
  for (int rank = 0; rank < n; ++rank) {
    const auto is_peer = [&](Rank r) {
      return r.value() >= 0 && r.value() < n && r.value() != rank;
    };
    int number = 0;
    for (const Step& step : schedule.programs[static_cast<std::size_t>(rank)]) {
      const std::string where = concat("rank ", rank, " step ", number++, " piece 0: ");
      if (step.chunk.value() < 0 || step.chunk.value() >= n) {
        return concat(where, "chunk ", step.chunk, " is not one of the ", n, " chunks");
      }
      if (const auto problem = source_problem(step, is_peer(step.from))) return where + *problem;
      if (const auto problem = target_problem(step, is_peer(step.to))) return where + *problem;
    }
  }
  return std::nullopt;
}

}  // namespace weft::schedule
