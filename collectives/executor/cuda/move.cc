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

// What a rank reads or writes in a move.
struct Access {
  const std::byte* begin = nullptr;
  std::int64_t bytes = 0;
  int rank = 0;
  std::size_t move = 0;

  bool overlaps(const Access& other) const {
    return begin < other.begin + other.bytes && other.begin < begin + bytes;
  }
  // The same element read, then written, by the same thread.
  bool same_place(const Access& other) const {
    return rank == other.rank && move == other.move && begin == other.begin;
  }
};

template <class Pointers>
void add_accesses(const Pointers& memory, int world, int which, std::int64_t offset, Access access,
                  std::vector<Access>& accesses) {
  for (int r = 0; r < world; ++r) {
    if (which != kAllOfThem && which != r) continue;
    access.begin = static_cast<const std::byte*>(memory[static_cast<std::size_t>(r)]) + offset;
    accesses.push_back(access);
  }
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

bool moves_can(const MotionPlan& motion, const Plan& plan) {
  const std::int64_t item = item_bytes(plan.dtype);
  const int world = plan.world.value();
  std::vector<Access> reads;
  std::vector<Access> writes;
  for (int r = 0; r < world; ++r) {
    const MoveList list = moves_of(motion, plan, Rank(r));
    for (std::size_t m = 0; m < list.span().size(); ++m) {
      const Move& move = list.span()[m];
      const Access access{nullptr, move.count * item, r, m};
      add_accesses(plan.inputs, world, move.from, move.from_offset * item, access, reads);
      add_accesses(plan.outputs, world, move.to, move.to_offset * item, access, writes);
    }
  }
  return std::none_of(writes.begin(), writes.end(), [&](const Access& write) {
    return std::any_of(reads.begin(), reads.end(), [&](const Access& read) {
      return write.overlaps(read) && !write.same_place(read);
    });
  });
}

}  // namespace weft::collectives
