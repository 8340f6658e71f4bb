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

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "collectives/bucket.h"
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
// Of two_shot: a sum goes on to the peers while it is still in the cache.
constexpr std::int64_t kSumBytes = 512 * 1024;
constexpr std::int64_t kScratch = 4 << 20;
constexpr std::int64_t kStripBytes = 32 * 1024;  // of a piece, reduced or copied at a time

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
        waiter_(rank_, plan_.limits, fabric_.fault_record(rank_, 0)),
        chunks_(plan_.chunk_log(rank_), 0) {
    for (std::int32_t peer = 0; peer < plan_.world.value(); ++peer) open_lane(Rank(peer));
  }

  void run() {
    if (waiter_.left()) return;
    const schedule::Program& program = plan_.program(rank_);
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
    const Range chunk = source_range(plan_, rank_, s);
    const Range part = plan_.tiling.part(chunk.size(), 0, round, index);
    fabric::ChunkRecord record;
    const auto stamp = [&](std::int64_t& time) { time = chunks_.on() ? now_ns() : 0; };
    stamp(record.t_wait);
    arrivals_.clear();
    if (!receive(s, step)) return false;
    if (s.from == schedule::kEveryone) {
      if (chunks_.on()) log_arrivals(step, round, index, record.t_wait);
      stamp(record.t_wait);
    }
    std::byte* to_slot = nullptr;
    if (s.target == Target::slot) {
      if (!take_slot(s.to, step)) return false;
      to_slot = slot(s.to, rank_, lane(s.to).slots_pushed++);
    }
    stamp(record.t_ready);
    const bool pushes = s.target != Target::none;
    if (fabric::active_mutant() == Mutant::flag_before_data && pushes) signal(s.to);
    move(s, chunk, part, to_slot);
    stamp(record.t_moved);
    free_slots(s);
    if (fabric::active_mutant() != Mutant::flag_before_data && pushes) signal(s.to);
    stamp(record.t_signal);
    if (chunks_.on()) log(s, step, round, index, part, record);
    return true;
  }

  // Of a step that waits for everyone: what it saw of whom, and when.
  void log_arrivals(Step step, std::int32_t round, std::int32_t index, std::int64_t begun) {
    for (const Arrival& arrival : arrivals_) {
      fabric::ChunkRecord record;
      record.t_wait = std::exchange(begun, arrival.time);
      record.t_ready = record.t_moved = record.t_signal = arrival.time;
      record.operation = static_cast<std::uint32_t>(plan_.limits.operation);
      record.round = round;
      record.rank = static_cast<std::int16_t>(rank_.value());
      record.step = static_cast<std::int16_t>(step.value());
      record.piece = static_cast<std::int16_t>(index);
      record.from = static_cast<std::int16_t>(arrival.from.value());
      record.received = arrival.count;
      chunks_.add(record);
    }
  }

  void log(const schedule::Step& s, Step step, std::int32_t round, std::int32_t index,
           const Range& part, fabric::ChunkRecord& record) {
    record.operation = static_cast<std::uint32_t>(plan_.limits.operation);
    record.bytes = s.source == Source::none ? 0
                                            : static_cast<std::int32_t>(std::min<std::int64_t>(
                                                  part.size() * item_bytes_, INT32_MAX));
    record.round = round;
    record.rank = static_cast<std::int16_t>(rank_.value());
    record.step = static_cast<std::int16_t>(step.value());
    record.piece = static_cast<std::int16_t>(index);
    record.from = static_cast<std::int16_t>(s.from.value());
    record.to = static_cast<std::int16_t>(s.to.value());
    if (record.from >= 0) record.received = lane(s.from).received;
    if (record.to >= 0) record.sent = lane(s.to).sent;
    chunks_.add(record);
  }

  // Calls visit(peer) for every rank that the step waits for, until it says no.
  template <class Visit>
  bool for_each_peer(const schedule::Step& s, const Visit& visit) {
    bool go_on = true;
    for_each_source(plan_.schedule->schedule, rank_.value(), s,
                    [&](int peer) { go_on = go_on && visit(Rank(peer)); });
    return go_on;
  }

  bool receive(const schedule::Step& s, Step step) {
    return for_each_peer(s, [&](Rank from) { return receive_from(from, step); });
  }

  bool receive_from(Rank from, Step step) {
    Lane& l = lane(from);
    const bool there = waiter_.wait(
        l.mine->data, {Awaited::data, from, step, Epoch(l.base.received), ++l.received});
    if (chunks_.on()) arrivals_.push_back({from, l.received, now_ns()});
    return there;
  }

  // Waits until the slot that the next push uses is free.
  bool take_slot(Rank to, Step step) {
    Lane& l = lane(to);
    const auto slots = static_cast<std::uint32_t>(plan_.tiling.slots);
    if (l.slots_pushed < slots) return true;
    return waiter_.wait(l.mine->credit, {Awaited::credit, to, step, Epoch(l.base.slots_pushed),
                                         l.slots_pushed - slots + 1});
  }

  void free_slots(const schedule::Step& s) {
    if (!s.reads_slot() && !s.reads_slots()) return;
    for_each_peer(s, [&](Rank from) {
      Lane& l = lane(from);
      fabric::publish(l.theirs->credit, Epoch(l.base.slots_read) + ++l.slots_read);
      return true;
    });
  }

  void signal(Rank to) {
    Lane& l = lane(to);
    fabric::publish(l.theirs->data, Epoch(l.base.sent) + ++l.sent);
  }

  // Where the step's operands lie, in the order in which they are added up: from element `begin` of
  // the chunk on, which is `slot_begin` elements into a slot's piece.
  std::span<const void* const> operands(const schedule::Step& s, const Range& chunk,
                                        std::int64_t begin, std::int64_t slot_begin) {
    const int self = rank_.value();
    const void* own = s.reads_output() ? vector_output(self, chunk.begin + begin)
                                       : vector_input(self, chunk.begin + begin);
    std::size_t count = 0;
    const auto received = [&](Rank from) {
      return slot(rank_, from, lane(from).slots_read) + slot_begin * item_bytes_;
    };
    if (s.reads_slots() || s.pulls()) {
      for_each_member(plan_.schedule->schedule, s, [&](int member) {
        const Rank rank(member);
        operands_[count++] =
            rank == rank_ ? own
            : s.pulls()
                ? vector_input(member, plan_.in.chunk(member, s.chunk.value()).begin + begin)
                : received(rank);
      });
      return std::span(operands_).first(count);
    }
    if (s.reads_slot()) operands_[count++] = received(s.from);
    if (s.source != Source::slot) operands_[count++] = own;
    return std::span(operands_).first(count);
  }

  // Reduces or copies one piece to own output (keep), and to a slot or a peer's output (if any),
  // strip by strip.
  void move(const schedule::Step& s, const Range& chunk, const Range& part, std::byte* to_slot) {
    if (part.size() == 0 || s.source == Source::none) return;
    const bool to_output = s.target == Target::output;
    if (!s.keep && !to_slot && !to_output) return;
    const std::int64_t strip = kStripBytes / item_bytes_;
    for (std::int64_t done = 0, size = 0; done < part.size(); done += size) {
      const std::int64_t begin = part.begin + done;
      size = std::min(strip, part.size() - done);
      // In a bucket the strip ends with the tensor: a place has the same sizes on all ranks.
      if (plan_.bucket) size = std::min(size, plan_.bucket->left_from(chunk.begin + begin));
      std::byte* push_to = to_slot     ? to_slot + done * item_bytes_
                           : to_output ? output_at(s.to, s.out_chunk(), begin)
                                       : nullptr;
      move_strip(operands(s, chunk, begin, done), size, s.last_sum,
                 s.keep ? output_at(rank_, s.out_chunk(), begin) : nullptr, push_to);
    }
  }

  void move_strip(std::span<const void* const> all, std::int64_t size, bool last_sum,
                  std::byte* keep, std::byte* push_to) {
    const int divisor = plan_.op == ReduceOp::avg && last_sum ? plan_.world.value() : 0;
    const auto bytes = static_cast<std::size_t>(size * item_bytes_);
    const void* result = all.front();
    if (all.size() > 1) {
      std::byte* to = keep ? keep : push_to;
      reduce_piece(plan_.dtype, plan_.op, to, all, size, divisor);
      result = to;
    } else if (keep && keep != result) {
      std::memcpy(keep, result, bytes);
    }
    if (push_to && push_to != result) std::memcpy(push_to, result, bytes);
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
    if (meets_at_end(plan_) && !meet(step)) return;
    if (fabric::active_mutant() == Mutant::stale_epoch) return;
    for (std::int32_t peer = 0; peer < plan_.world.value(); ++peer) {
      Lane& l = lane(Rank(peer));
      *l.progress = {l.base.received + l.received, l.base.sent + l.sent,
                     l.base.slots_read + l.slots_read, l.base.slots_pushed + l.slots_pushed};
    }
  }

  bool meet(Step step) {
    const auto for_each_other = [&](const auto& visit) {
      for (Rank peer(0); peer.value() < plan_.world.value(); ++peer) {
        if (peer != rank_ && !visit(peer)) return false;
      }
      return true;
    };
    for_each_other([&](Rank peer) {
      signal(peer);
      return true;
    });
    return for_each_other([&](Rank peer) { return receive_from(peer, step); });
  }

  const std::byte* vector_input(int rank, std::int64_t element) const {
    if (plan_.bucket) return plan_.bucket->input_at(rank, element);
    return static_cast<const std::byte*>(plan_.inputs[static_cast<std::size_t>(rank)]) +
           element * item_bytes_;
  }
  std::byte* vector_output(int rank, std::int64_t element) const {
    if (plan_.bucket) return plan_.bucket->output_at(rank, element);
    return static_cast<std::byte*>(plan_.outputs[static_cast<std::size_t>(rank)]) +
           element * item_bytes_;
  }
  std::byte* output_at(Rank rank, schedule::Chunk chunk, std::int64_t begin) const {
    const std::int64_t first = plan_.out.chunk(rank.value(), chunk.value()).begin;
    return vector_output(rank.value(), first + begin);
  }

  // The slot of push number `count` from one rank to the slots' owner.
  std::byte* slot(Rank owner, Rank from, std::uint32_t count) const {
    const std::int64_t bytes = plan_.tiling.piece_elements * item_bytes_;
    const auto slots = static_cast<std::uint32_t>(plan_.tiling.slots);
    const std::int64_t number =
        static_cast<std::int64_t>(plan_.schedule->lane(owner.value(), from.value())) * slots +
        count % slots;
    return fabric_.arena(owner).scratch() + number * bytes;
  }

  const Plan& plan_;
  const fabric::Fabric& fabric_;
  Rank rank_;
  std::int64_t item_bytes_;
  fabric::Waiter waiter_;
  fabric::ChunkWriter chunks_;
  struct Arrival {
    Rank from{};
    std::uint32_t count = 0;
    std::int64_t time = 0;
  };
  std::vector<Arrival> arrivals_;  // of the piece that is waited for; while chunks are recorded
  std::array<Lane, kMaxRanks> lanes_{};
  std::array<const void*, kMaxRanks> operands_{};
};

// The windows this rank will touch: its own vectors, its peers' vectors and arenas.
void check_windows(const WorkContext& context, const Params& p) {
  const Plan& plan = *p.plan;
  const auto check = [&](const void* memory, Bytes size) {
    if (!memory) return;
    if (const auto problem = context.device->access_problem(memory, size)) {
      fail(ErrorCode::peer_access, *problem);
    }
  };
  const auto vector_bytes = [&](const schedule::ChunkMap& map, int rank) {
    return Bytes(map.chunk(rank, map.chunks - 1).end * item_bytes(plan.dtype));
  };
  const auto check_tensors = [&](std::span<const Tensor> tensors, int rank) {
    const auto world = static_cast<std::size_t>(plan.world.value());
    for (auto i = static_cast<std::size_t>(rank); i < tensors.size(); i += world) {
      check(tensors[i].data(), tensors[i].bytes());
    }
  };
  const auto check_input = [&](int rank) {
    if (plan.bucket) return check_tensors(plan.bucket->inputs(), rank);
    check(plan.inputs[static_cast<std::size_t>(rank)], vector_bytes(plan.in, rank));
  };
  const auto check_output = [&](int rank) {
    if (plan.bucket) return check_tensors(plan.bucket->outputs(), rank);
    check(plan.outputs[static_cast<std::size_t>(rank)], vector_bytes(plan.out, rank));
  };
  check_input(p.rank.value());
  check_output(p.rank.value());
  for (const auto& step : plan.program(p.rank)) {
    if (step.pulls()) {
      for_each_source(plan.schedule->schedule, p.rank.value(), step, check_input);
    }
    if (step.to == schedule::kNobody) continue;
    if (step.target == Target::output) check_output(step.to.value());
    const Arena& arena = p.fabric->arena(step.to);
    check(arena.base, Bytes(arena.layout.bytes()));
  }
}

// A lane by itself has the slots of several pieces; one of many has those of one (see cut_chunks).
std::int32_t pieces_of(std::int64_t lanes) { return lanes <= 1 ? kPieces : 1; }

// Bytes of a slot, where all have the same share of a rank's scratch.
std::int64_t room_of_a_slot(const fabric::Fabric& fabric, std::int64_t lanes) {
  const std::int64_t align = schedule::Tiling::kAlign;
  const std::int64_t slots = 2 * pieces_of(lanes) * std::max<std::int64_t>(1, lanes);
  return fabric.arena(Rank(0)).layout.scratch_bytes / slots / align * align;
}

void run_rank(const WorkContext&, const void* params) {
  RankRun(*static_cast<const Params*>(params)).run();
}

}  // namespace

std::string sim_refusal(const fabric::Fabric& fabric, const schedule::Prepared& schedule) {
  const std::int64_t lanes = schedule.slot_lanes;
  if (lanes == 0 || room_of_a_slot(fabric, lanes) > 0) return "";
  return concat("the fabric's scratch of ", fabric.arena(Rank(0)).layout.scratch_bytes,
                " bytes a rank is too small for ", lanes, " lanes of slots");
}

schedule::Tiling sim_tiling(const fabric::Fabric& fabric, const Plan& plan,
                            const schedule::Extent& extent) {
  const std::int64_t item = item_bytes(plan.dtype);
  const std::int64_t lanes = plan.schedule->slot_lanes;
  const auto cut = [&](std::int64_t piece_bytes, std::int32_t pieces) {
    return schedule::cut_chunks(extent.elements, extent.chunk_elements, item,
                                {piece_bytes, pieces, 1});
  };
  if (lanes == 0) {
    if (plan.algorithm == Algorithm::ring) return cut(kPieceBytes, kPieces);
    if (plan.algorithm == Algorithm::two_shot) return cut(kSumBytes, 1);
    // Without slots nothing bounds a piece: what takes one hop is moved whole.
    return cut(std::max<std::int64_t>(1, extent.chunk_elements) * item, 1);
  }
  const std::string why = sim_refusal(fabric, *plan.schedule);
  if (!why.empty()) fail(ErrorCode::invalid_argument, why);
  return cut(std::min(kPieceBytes, room_of_a_slot(fabric, lanes)), pieces_of(lanes));
}

Bytes sim_scratch() { return Bytes(kScratch); }

Work sim_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  const Params params{&fabric, &plan, rank};
  check_windows(WorkContext{&fabric.device(rank), nullptr}, params);
  return Work::make("sim_schedule", run_rank, params);
}

}  // namespace weft::collectives
