#include "collectives/executor/cuda/move.h"

#include <algorithm>
#include <vector>

#include "collectives/schedule/tiling.h"

namespace weft::collectives {
namespace {

// Rank `rank`'s chunk of a vector that all ranks share, from `root`'s or everyone's point of view.
Move own_chunk(int world, int rank, int to, std::int64_t elements, std::int64_t item_bytes) {
  const std::int64_t align = schedule::Tiling::kAlign / item_bytes;
  const std::int64_t chunk = schedule::ceil_div(schedule::ceil_div(elements, world), align) * align;
  const std::int64_t begin = std::min(rank * chunk, elements);
  return {kAllOfThem, to, begin, begin, std::min(begin + chunk, elements) - begin};
}

}  // namespace

MoveList moves_of(const MotionPlan& motion, WorldSize world, Rank rank, std::int64_t elements,
                  std::int64_t item_bytes) {
  const int n = world.value();
  const int self = rank.value();
  const int root = motion.root.value();
  const std::int64_t part = self * elements;
  MoveList moves;
  switch (motion.motion) {
    case Motion::one_shot:
      moves.add({kAllOfThem, self, 0, 0, elements});
      break;
    case Motion::two_shot:
      moves.add(own_chunk(n, self, kAllOfThem, elements, item_bytes));
      break;
    case Motion::reduce:
      moves.add(own_chunk(n, self, root, elements, item_bytes));
      break;
    case Motion::reduce_scatter:
      moves.add({kAllOfThem, self, part, 0, elements});
      break;
    case Motion::all_gather:
      moves.add({self, kAllOfThem, 0, part, elements});
      break;
    case Motion::broadcast:
      if (self == root) moves.add({self, kAllOfThem, 0, 0, elements});
      break;
    case Motion::gather:
      moves.add({self, root, 0, part, elements});
      break;
    case Motion::scatter:
    case Motion::all_to_all:
      if (motion.motion == Motion::scatter && self != root) break;
      for (int k = 1; k <= n; ++k) {
        const int to = (self + k) % n;
        moves.add({self, to, to * elements, motion.motion == Motion::scatter ? 0 : part, elements});
      }
      break;
    case Motion::send:
      if (self == root) moves.add({self, motion.peer.value(), 0, 0, elements});
      break;
    case Motion::planned:
      break;  // see below
  }
  return moves;
}

MoveList moves_of(const Plan& plan, Rank rank) {
  MoveList moves;
  const int self = rank.value();
  for (const schedule::Step& step : plan.program(rank)) {
    if (step.source != schedule::Source::input) continue;
    const schedule::Range from = plan.in.chunk(self, step.chunk.value());
    const auto add = [&](int to) {
      const schedule::Range there = plan.out.chunk(to, step.out_chunk().value());
      moves.add({self, to, from.begin, there.begin, from.size()});
    };
    if (step.target == schedule::Target::output) add(step.to.value());
    if (step.keep) add(self);
  }
  return moves;
}

MoveList moves_of(const MotionPlan& motion, const Plan& plan, Rank rank) {
  if (motion.motion == Motion::planned) return moves_of(plan, rank);
  return moves_of(motion, plan.world, rank, plan.tiling.elements, item_bytes(plan.dtype));
}

}  // namespace weft::collectives
