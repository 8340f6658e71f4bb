// What is particular to each collective: shapes, who gives and gets, and which schedules it has.
#include <algorithm>
#include <cstddef>

#include "collectives/request.h"
#include "collectives/schedule/halving_doubling.h"
#include "collectives/schedule/moves.h"
#include "collectives/schedule/partial.h"
#include "collectives/schedule/ring.h"
#include "collectives/schedule/two_shot.h"

namespace weft::collectives {
namespace {

using Made = std::optional<schedule::Schedule>;

// Hierarchical is not here: it needs groups, see select.cc.
Made all_reduce(Algorithm algorithm, WorldSize world, const Call&) {
  switch (algorithm) {
    case Algorithm::ring:
      return schedule::ring::materialise(world);
    case Algorithm::ll:
    case Algorithm::lamport:
    case Algorithm::one_shot:
      return schedule::one_shot::materialise(world);
    case Algorithm::one_shot_pull:
      return schedule::one_shot_pull::materialise(world);
    case Algorithm::two_shot:
      return schedule::two_shot::materialise(world);
    case Algorithm::push_two_shot:
    case Algorithm::copy_engine:
      return schedule::push_two_shot::materialise(world);
    case Algorithm::halving_doubling:
      return schedule::halving_doubling::materialise(world);
    case Algorithm::hierarchical:
    case Algorithm::automatic:
      break;
  }
  return std::nullopt;
}

Made reduce_scatter(Algorithm algorithm, WorldSize world, const Call&) {
  switch (algorithm) {
    case Algorithm::ring:
      return schedule::reduce_scatter_ring::materialise(world);
    case Algorithm::one_shot:
      return schedule::reduce_scatter_push::materialise(world);
    case Algorithm::one_shot_pull:
      return schedule::reduce_scatter_pull::materialise(world);
    default:
      return std::nullopt;
  }
}

// LL lines go through the receiver's scratch; the others write straight into its output.
schedule::Target moved_into(Algorithm algorithm) {
  return algorithm == Algorithm::ll ? schedule::Target::slot : schedule::Target::output;
}

bool moves_by(Algorithm algorithm) {
  return algorithm == Algorithm::ll || algorithm == Algorithm::one_shot ||
         algorithm == Algorithm::copy_engine;
}

Made all_gather(Algorithm algorithm, WorldSize world, const Call&) {
  switch (algorithm) {
    case Algorithm::ring:
      return schedule::all_gather_ring::materialise(world);
    case Algorithm::ll:
    case Algorithm::one_shot:
    case Algorithm::copy_engine:
      return schedule::moves::all_gather(world, moved_into(algorithm));
    default:
      return std::nullopt;
  }
}

Made reduce(Algorithm algorithm, WorldSize world, const Call& call) {
  if (algorithm != Algorithm::two_shot) return std::nullopt;
  return schedule::reduce_two_shot::materialise(world, call.root);
}

Made broadcast(Algorithm algorithm, WorldSize world, const Call& call) {
  if (!moves_by(algorithm)) return std::nullopt;
  return schedule::moves::broadcast(world, call.root, moved_into(algorithm));
}

Made all_to_all(Algorithm algorithm, WorldSize world, const Call&) {
  if (!moves_by(algorithm)) return std::nullopt;
  return schedule::moves::all_to_all(world, moved_into(algorithm));
}

Made scatter(Algorithm algorithm, WorldSize world, const Call& call) {
  if (!moves_by(algorithm)) return std::nullopt;
  return schedule::moves::scatter(world, call.root, moved_into(algorithm));
}

Made gather(Algorithm algorithm, WorldSize world, const Call& call) {
  if (!moves_by(algorithm)) return std::nullopt;
  return schedule::moves::gather(world, call.root, moved_into(algorithm));
}

Made send_recv(Algorithm algorithm, WorldSize world, const Call& call) {
  if (!moves_by(algorithm)) return std::nullopt;
  return schedule::moves::permute(world, call.to, moved_into(algorithm));
}

// In the order of Collective.
constexpr Kind kKinds[] = {
    {.name = "all_reduce",
     .event = EventKind::all_reduce,
     .reduces = true,
     .in_place = true,
     .schedule = all_reduce},
    {.name = "reduce_scatter",
     .event = EventKind::reduce_scatter,
     .shapes = Shapes::split,
     .reduces = true,
     .schedule = reduce_scatter},
    {.name = "all_gather",
     .event = EventKind::all_gather,
     .shapes = Shapes::joined,
     .schedule = all_gather},
    {.name = "broadcast",
     .event = EventKind::broadcast,
     .rooted = true,
     .in_place = true,
     .schedule = broadcast},
    {.name = "reduce",
     .event = EventKind::reduce,
     .outputs = Holders::root,
     .reduces = true,
     .rooted = true,
     .in_place = true,
     .schedule = reduce},
    {.name = "all_to_all",
     .event = EventKind::all_to_all,
     .shapes = Shapes::exchanged,
     .schedule = all_to_all},
    {.name = "scatter",
     .event = EventKind::scatter,
     .shapes = Shapes::split,
     .inputs = Holders::root,
     .rooted = true,
     .schedule = scatter},
    {.name = "gather",
     .event = EventKind::gather,
     .shapes = Shapes::joined,
     .outputs = Holders::root,
     .rooted = true,
     .schedule = gather},
    {.name = "send_recv",
     .event = EventKind::send_recv,
     .inputs = Holders::partners,
     .outputs = Holders::partners,
     .schedule = send_recv},
};

}  // namespace

const Kind& kind_of(Collective collective) { return kKinds[static_cast<std::size_t>(collective)]; }

const char* name(Collective collective) { return kind_of(collective).name; }

bool Request::has_input(std::size_t rank) const {
  switch (kind().inputs) {
    case Holders::all:
      return true;
    case Holders::root:
      return rank == static_cast<std::size_t>(call.root.value());
    case Holders::partners:
      break;
  }
  return call.to[rank] != schedule::kNobody;
}

bool Request::has_output(std::size_t rank) const {
  switch (kind().outputs) {
    case Holders::all:
      return true;
    case Holders::root:
      return rank == static_cast<std::size_t>(call.root.value());
    case Holders::partners:
      break;
  }
  const Rank self(static_cast<std::int32_t>(rank));
  return std::find(call.to.begin(), call.to.end(), self) != call.to.end();
}

int Request::first_rank() const {
  std::size_t rank = 0;
  while (!has_input(rank)) ++rank;
  return static_cast<int>(rank);
}

const Tensor& Request::first_output() const {
  std::size_t rank = 0;
  while (!has_output(rank)) ++rank;
  return outputs[rank];
}

std::int64_t Request::input_elements() const {
  return bucket ? bucket->elements() : first_input().layout().elements();
}

std::int64_t Request::output_elements() const {
  return bucket ? bucket->elements() : first_output().layout().elements();
}

bool Request::in_place() const {
  for (std::size_t r = 0; r < inputs.size(); ++r) {
    if (!has_input(r) || !has_output(r) || inputs[r].bytes().value() == 0) continue;
    if (inputs[r].data() == outputs[r].data()) return true;
  }
  return false;
}

}  // namespace weft::collectives
