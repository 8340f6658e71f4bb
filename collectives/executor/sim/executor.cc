// A rank's run through its program: for each round, step and piece, wait, reduce or copy, push,
// signal.
//
// Invariants
//   1. What is read has been waited for; what is pushed into a slot has a credit; both are counted
//      a lane (fabric/signal.h).
//   2. Every memory access lies in a window that was checked, once a run, for peer access and
//      bounds.
//   3. A rank that leaves early has left a FaultRecord and publishes nothing more.
#include "collectives/executor/sim/executor.h"

#include <time.h>

#include <cstring>

#include "collectives/executor/sim/reduce.h"
#include "core/base/error.h"
#include "core/device/sim/scheduler.h"

namespace weft::collectives {
namespace {

using fabric::Arena;
using fabric::Awaited;
using fabric::LaneProgress;
using fabric::Mutant;
using schedule::Range;
using schedule::Source;
using schedule::Target;

constexpr std::int64_t kPieceBytes = 128 * 1024;  // two operands and a result fit in a core's L2
constexpr std::int32_t kPieces = 4;

struct Params {
  const fabric::Fabric* fabric;
  const Plan* plan;
  Rank rank;
};

// One rank's view of one peer.
struct Lane {
  fabric::LaneSignals* mine = nullptr;    // written by the peer
  fabric::LaneSignals* theirs = nullptr;  // written by this rank
  LaneProgress* progress = nullptr;
  LaneProgress base{};
  std::uint32_t received = 0, sent = 0, slots_read = 0, slots_pushed = 0;
};

class RankRun {
 public:
  explicit RankRun(const Params& p)
      : plan_(*p.plan),
        fabric_(*p.fabric),
        rank_(p.rank),
        item_bytes_(item_bytes(plan_.dtype)),
        waiter_(rank_, plan_.limits, fabric_.fault_record(rank_, 0)) {
    for (std::int32_t peer = 0; peer < plan_.world.value(); ++peer) open_lane(Rank(peer));
  }

  void run() {
    if (waiter_.left()) return;
    const auto& program = plan_.schedule->programs[static_cast<std::size_t>(rank_.value())];
    for (std::int32_t round = 0; round < plan_.tiling.rounds; ++round) {
      for (std::size_t i = 0; i < program.size(); ++i) {
        const Step step(static_cast<std::int32_t>(i));
        if (!begin_step(step)) return;
        for (std::int32_t piece = 0; piece < plan_.tiling.pieces; ++piece) {
          if (!run_piece(program[i], step, round, piece)) return;
          SimScheduler::yield_point();
        }
      }
    }
    finish(Step(static_cast<std::int32_t>(program.size())));
  }

 private:
  Lane& lane(Rank peer) { return lanes_[static_cast<std::size_t>(peer.value())]; }

  void open_lane(Rank peer) {
    Lane& l = lane(peer);
    l.mine = fabric_.arena(rank_).signals(0, peer);
    l.theirs = fabric_.arena(peer).signals(0, rank_);
    l.progress = fabric_.arena(rank_).progress(0, peer);
    l.base = *l.progress;
  }

  // The planned fault of a test, and the abort flag.
  bool begin_step(Step step) {
    const FaultPoint& fault = plan_.fault;
    if (fault.rank == rank_.value() && fault.step == step.value()) {
      if (fault.action == FaultPoint::Action::stop) {
        waiter_.leave(fabric::Outcome::stopped, step);
        return false;
      }
      if (fault.action == FaultPoint::Action::delay && !pause(fault.delay_ns, step)) return false;
    }
    return waiter_.may_go_on(step);
  }

  bool pause(std::int64_t ns, Step step) {
    const std::int64_t until = now_ns() + ns;
    const timespec moment{0, 100'000};
    while (now_ns() < until) {
      if (!waiter_.may_go_on(step)) return false;
      nanosleep(&moment, nullptr);
    }
    return true;
  }

  bool run_piece(const schedule::Step& s, Step step, std::int32_t round, std::int32_t index) {
    const Range range = plan_.tiling.piece(s.chunk.value(), 0, round, index);
    if (s.from != schedule::kNobody && !receive(s.from, step)) return false;
    std::byte* push_to = nullptr;
    if (s.target == Target::slot) {
      if (!take_slot(s.to, step)) return false;
      push_to = slot(s.to, lane(s.to).slots_pushed++);
    } else if (s.target == Target::output) {
      push_to = at(plan_.outputs[static_cast<std::size_t>(s.to.value())], range);
    }
    if (fabric::active_mutant() == Mutant::flag_before_data && push_to) signal(s.to);
    move(s, range, push_to);
    if (s.source == Source::input_plus_slot) free_slot(s.from);
    if (fabric::active_mutant() != Mutant::flag_before_data && push_to) signal(s.to);
    return true;
  }

  bool receive(Rank from, Step step) {
    Lane& l = lane(from);
    return waiter_.wait(l.mine->data,
                        {Awaited::data, from, step, Epoch(l.base.received), ++l.received});
  }

  // Waits until the slot that the next push uses is free.
  bool take_slot(Rank to, Step step) {
    Lane& l = lane(to);
    const auto slots = static_cast<std::uint32_t>(plan_.tiling.slots);
    if (l.slots_pushed < slots) return true;
    return waiter_.wait(l.mine->credit, {Awaited::credit, to, step, Epoch(l.base.slots_pushed),
                                         l.slots_pushed - slots + 1});
  }

  void free_slot(Rank from) {
    Lane& l = lane(from);
    fabric::publish(l.theirs->credit, Epoch(l.base.slots_read) + ++l.slots_read);
  }

  void signal(Rank to) {
    Lane& l = lane(to);
    fabric::publish(l.theirs->data, Epoch(l.base.sent) + ++l.sent);
  }

  // Reduces or copies one piece to own output (keep) and to push_to (if any).
  void move(const schedule::Step& s, const Range& range, std::byte* push_to) {
    if (range.size() == 0) return;
    const auto self = static_cast<std::size_t>(rank_.value());
    const std::byte* input = at(const_cast<void*>(plan_.inputs[self]), range);
    std::byte* output = at(plan_.outputs[self], range);
    const std::byte* source = s.source == Source::output ? output : input;
    const auto bytes = static_cast<std::size_t>(range.size() * item_bytes_);
    if (s.source == Source::input_plus_slot) {
      std::byte* result = s.keep ? output : push_to;
      const int divisor = plan_.op == ReduceOp::avg && s.last_sum ? plan_.world.value() : 0;
      reduce_piece(plan_.dtype, plan_.op, result, input, slot(rank_, lane(s.from).slots_read),
                   range.size(), divisor);
      source = result;
    } else if (s.keep && output != input) {
      std::memcpy(output, input, bytes);
    }
    if (push_to && push_to != source) std::memcpy(push_to, source, bytes);
  }

  // All credits are in, so no lane has anything outstanding; then the counts are carried over.
  void finish(Step step) {
    for (std::int32_t peer = 0; peer < plan_.world.value(); ++peer) {
      Lane& l = lane(Rank(peer));
      if (l.slots_pushed > 0 &&
          !waiter_.wait(l.mine->credit, {Awaited::credit, Rank(peer), step,
                                         Epoch(l.base.slots_pushed), l.slots_pushed})) {
        return;
      }
    }
    if (fabric::active_mutant() == Mutant::stale_epoch) return;
    for (std::int32_t peer = 0; peer < plan_.world.value(); ++peer) {
      Lane& l = lane(Rank(peer));
      *l.progress = {l.base.received + l.received, l.base.sent + l.sent,
                     l.base.slots_read + l.slots_read, l.base.slots_pushed + l.slots_pushed};
    }
  }

  std::byte* at(void* vector, const Range& range) const {
    return static_cast<std::byte*>(vector) + range.begin * item_bytes_;
  }

  // The slot of push number `count` to `owner`. Of every schedule so far a rank gets slot pushes
  // from one peer only, so that its scratch is one lane's.
  std::byte* slot(Rank owner, std::uint32_t count) const {
    const std::int64_t bytes = plan_.tiling.piece_elements * item_bytes_;
    return fabric_.arena(owner).scratch() + (count % plan_.tiling.slots) * bytes;
  }

  const Plan& plan_;
  const fabric::Fabric& fabric_;
  Rank rank_;
  std::int64_t item_bytes_;
  fabric::Waiter waiter_;
  std::array<Lane, kMaxRanks> lanes_{};
};

// The windows this rank will touch: its own vectors, its peers' outputs and arenas.
void check_windows(const WorkContext& context, const Params& p) {
  const Bytes bytes(p.plan->tiling.elements * item_bytes(p.plan->dtype));
  const auto check = [&](const void* memory, Bytes size) {
    if (const auto problem = context.device->access_problem(memory, size)) {
      fail(ErrorCode::peer_access, *problem);
    }
  };
  const auto self = static_cast<std::size_t>(p.rank.value());
  check(p.plan->inputs[self], bytes);
  check(p.plan->outputs[self], bytes);
  for (const auto& step : p.plan->schedule->programs[self]) {
    if (step.to == schedule::kNobody) continue;
    check(p.plan->outputs[static_cast<std::size_t>(step.to.value())], bytes);
    check(p.fabric->arena(step.to).base, Bytes(p.fabric->arena(step.to).layout.bytes()));
  }
}

void run_rank(const WorkContext&, const void* params) {
  RankRun(*static_cast<const Params*>(params)).run();
}

}  // namespace

schedule::TilingLimits sim_limits() { return {kPieceBytes, kPieces, 1}; }

Bytes sim_scratch() { return Bytes(2 * kPieces * kPieceBytes); }

Work sim_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  const Params params{&fabric, &plan, rank};
  check_windows(WorkContext{&fabric.device(rank), nullptr}, params);
  return Work::make("sim_schedule", run_rank, params);
}

}  // namespace weft::collectives
