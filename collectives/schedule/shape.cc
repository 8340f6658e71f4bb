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
  if (step.source == Source::none && step.target != Target::none && step.target != Target::token) {
    return "pushes, but reads nothing";
  }
  if (step.source != Source::none && step.target == Target::token) {
    return "gives a token, and reads a piece for it";
  }
  return std::nullopt;
}

std::optional<std::string> source_problem(const Step& step, bool is_peer) {
  const bool many = step.reads_slots() || step.pulls();
  if (step.from == kEveryone && !many) return "waits for everyone, but reads of one rank at most";
  if (step.from != kEveryone && many) return "reads of everyone without waiting for everyone";
  if (step.from != kNobody && step.from != kEveryone && !is_peer) {
    return concat("waits for rank ", step.from, ", which is no peer");
  }
  if (step.from == kNobody && step.reads_slot()) {
    return "reads a slot without waiting for anybody to fill it";
  }
  if (step.last_sum && !step.reduces() && step.source != Source::input) {
    return "marks a last sum, but reduces nothing";
  }
  if (step.keep && step.source == Source::output) return "keeps what it read from its own output";
  if (step.keep && step.source == Source::none) return "keeps a piece, but reads nothing";
  return std::nullopt;
}

// Is the rank in the group that it waits for?
std::optional<std::string> group_problem(const Schedule& schedule, const Step& step, int rank) {
  if (step.group == kAllRanks) return std::nullopt;
  if (step.group < 0 || static_cast<std::size_t>(step.group) >= schedule.groups.size()) {
    return concat("names group ", step.group, " of ", schedule.groups.size());
  }
  bool member = false;
  for_each_member(schedule, step, [&](int r) { member = member || r == rank; });
  if (!member) return concat("waits for group ", step.group, ", which it is not in");
  return std::nullopt;
}

std::optional<std::string> chunk_problem(const Schedule& schedule, const Step& step) {
  const int chunks = step.reads_output() ? schedule.outputs() : schedule.inputs();
  const bool any = step.source == Source::none || step.source == Source::slot;
  if (!any && (step.chunk.value() < 0 || step.chunk.value() >= chunks)) {
    return concat("chunk ", step.chunk, " is not one of the ", chunks, " chunks");
  }
  const bool writes = step.keep || step.target == Target::output;
  const int out = step.out_chunk().value();
  if (writes && (out < 0 || out >= schedule.outputs())) {
    return concat("chunk ", out, " is not one of the ", schedule.outputs(), " chunks of an output");
  }
  return std::nullopt;
}

std::optional<std::string> step_problem(const Schedule& schedule, const Step& step, int rank) {
  const auto is_peer = [&](Rank r) {
    return r.value() >= 0 && r.value() < schedule.world.value() && r.value() != rank;
  };
  if (auto problem = chunk_problem(schedule, step)) return problem;
  if (auto problem = group_problem(schedule, step, rank)) return problem;
  if (auto problem = source_problem(step, is_peer(step.from))) return problem;
  return target_problem(step, is_peer(step.to));
}

}  // namespace

std::optional<std::string> shape_problem(const Schedule& schedule) {
  const int n = schedule.world.value();
  if (n < 1 || schedule.programs.size() != static_cast<std::size_t>(n)) {
    return concat("the schedule has ", schedule.programs.size(), " programs for ", n, " ranks");
  }
  for (int rank = 0; rank < n; ++rank) {
    int number = 0;
    for (const Step& step : schedule.programs[static_cast<std::size_t>(rank)]) {
      if (const auto problem = step_problem(schedule, step, rank)) {
        return concat("rank ", rank, " step ", number, " piece 0: ", *problem);
      }
      ++number;
    }
  }
  return std::nullopt;
}

}  // namespace weft::schedule
