// What the step kernel is given: the schedule's own steps and groups, and pieces that lie where
// both ends look for them. Its walk is run here, one piece of one block at a time, over memory of
// the host.
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "collectives/executor/cuda/step_program.h"
#include "collectives/schedule/halving_doubling.h"
#include "collectives/schedule/hierarchical.h"
#include "collectives/schedule/moves.h"
#include "collectives/schedule/partial.h"
#include "collectives/schedule/ring.h"
#include "collectives/schedule/two_shot.h"
#include "collectives/schedule/verify.h"

namespace weft::collectives::cuda {
namespace {

using schedule::Prepared;
using schedule::Schedule;

struct Case {
  std::string name;
  Collective collective;
  Schedule schedule;
};

// Groups of one size; every other rank first, so that no group is in the order of ranks.
std::vector<std::vector<Rank>> mixed_groups(int n, int size) {
  std::vector<std::vector<Rank>> groups(static_cast<std::size_t>(n / size));
  int count = 0;
  for (const int first : {1, 0}) {
    for (int r = first; r < n; r += 2) {
      groups[static_cast<std::size_t>(count++ / size)].push_back(Rank(r));
    }
  }
  return groups;
}

// All that goes by steps.
std::vector<Case> cases(int n) {
  const WorldSize world(n);
  std::vector<Case> all;
  const auto add = [&](const char* name, Collective collective, Schedule schedule) {
    all.push_back({concat(name, " of ", n), collective, std::move(schedule)});
  };
  add("one_shot", Collective::all_reduce, schedule::one_shot::materialise(world));
  add("halving_doubling", Collective::all_reduce, schedule::halving_doubling::materialise(world));
  for (int m = 1; m <= n; ++m) {
    if (n % m != 0) continue;
    add(concat("hierarchical, groups of ", m).c_str(), Collective::all_reduce,
        schedule::hierarchical::materialise(world, mixed_groups(n, m)));
  }
  add("one_shot", Collective::reduce_scatter, schedule::reduce_scatter_push::materialise(world));
  add("ring", Collective::reduce_scatter, schedule::reduce_scatter_ring::materialise(world));
  add("ring", Collective::all_gather, schedule::all_gather_ring::materialise(world));
  return all;
}

schedule::Contract contract_of(const Case& c) {
  switch (c.collective) {
    case Collective::reduce_scatter:
      return schedule::contracts::reduce_scatter(c.schedule);
    case Collective::all_gather:
      return schedule::contracts::all_gather(c.schedule);
    default:
      return schedule::contracts::all_reduce(c.schedule);
  }
}

// An operation of all ranks and blocks over vectors of uint32, on one thread: whoever can go on
// does its next piece. Slots that no pushed piece is in hold rubbish.
class Machine {
 public:
  Machine(const Case& c, std::int64_t rows, std::int64_t scratch, std::int32_t blocks,
          bool in_place)
      : prepared_(schedule::prepare(c.schedule)), n_(c.schedule.world.value()) {
    const bool splits = c.collective == Collective::reduce_scatter;
    const bool joins = c.collective == Collective::all_gather;
    const std::int64_t in = splits ? rows * n_ : rows;
    const std::int64_t out = joins ? rows * n_ : rows;
    std::int64_t chunk = std::min(in, out);
    if (in == out && c.schedule.inputs() > 1) {
      chunk = schedule::aligned_chunk(in, 4, c.schedule.inputs());
    }
    shared_.in = {in, chunk, nullptr, c.schedule.inputs()};
    shared_.out = {out, chunk, nullptr, c.schedule.outputs()};
    shared_.tiling = schedule::cut_chunks(std::max(in, out), chunk, 4,
                                          steps_limits(prepared_.slot_lanes, scratch, blocks));
    shared_.layout = {n_, shared_.tiling.blocks, scratch};
    shared_.dtype = DType::i32;
    shared_.slots_offset = 64;
    make_memory(in, out, in_place);
    make_workers();
  }

  // Did all of them get to the end?
  bool run() {
    for (bool progress = true; progress;) {
      progress = false;
      for (Worker& worker : workers_) {
        while (go_on(worker)) progress = true;
      }
    }
    for (const Worker& worker : workers_) {
      if (worker.position != steps_of(worker)) return false;
    }
    return true;
  }

  // The elements of a rank's output that are not what a collective makes of inputs(rank, element).
  std::int64_t wrong(Collective collective, int rank) const {
    std::int64_t count = 0;
    const auto& output = outputs_[static_cast<std::size_t>(rank)];
    for (std::int64_t i = 0; i < shared_.out.elements; ++i) {
      std::uint32_t want = 0;
      if (collective == Collective::all_gather) {
        want = input(static_cast<int>(i / shared_.in.elements), i % shared_.in.elements);
      } else {
        const bool split = collective == Collective::reduce_scatter;
        const std::int64_t first = split ? rank * shared_.out.elements : 0;
        for (int r = 0; r < n_; ++r) want += input(r, first + i);
      }
      count += output[static_cast<std::size_t>(i)] != want;
    }
    return count;
  }
  const schedule::Tiling& tiling() const { return shared_.tiling; }
  bool stayed_in_its_scratch() const {
    for (const auto& arena : arenas_) {
      for (std::size_t i = 0; i < arena.size(); ++i) {
        const bool inside =
            i >= 64 && i < 64 + static_cast<std::size_t>(shared_.layout.scratch_bytes);
        if (!inside && arena[i] != kRubbish) return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::byte kRubbish{0xa5};
  using Counts = std::array<std::uint32_t, kMaxCudaRanks>;

  struct Worker {
    int rank = 0;
    int block = 0;
    std::int64_t position = 0;  // pieces of all steps and rounds
    Counts received{}, slots_read{}, slots_pushed{};
    Counts data{}, credit{};  // written by the peers
  };

  static std::uint32_t input(int rank, std::int64_t i) {
    return static_cast<std::uint32_t>(i) * 2654435761U + static_cast<std::uint32_t>(rank) * 40503U;
  }
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  void make_memory(std::int64_t in, std::int64_t out, bool in_place) {
    for (int r = 0; r < n_; ++r) {
      std::vector<std::uint32_t> values(static_cast<std::size_t>(in));
      for (std::int64_t i = 0; i < in; ++i) values[static_cast<std::size_t>(i)] = input(r, i);
      outputs_.push_back(in_place ? values
                                  : std::vector<std::uint32_t>(static_cast<std::size_t>(out)));
      inputs_.push_back(std::move(values));
      arenas_.emplace_back(static_cast<std::size_t>(shared_.layout.scratch_bytes) + 128, kRubbish);
    }
    for (int r = 0; r < n_; ++r) {
      shared_.outputs[r] = reinterpret_cast<std::byte*>(outputs_[at(r)].data());
      shared_.arenas[r] = arenas_[at(r)].data();
    }
    for (int r = 0; r < n_; ++r) {
      StepsParams params = shared_;
      params.rank = r;
      params.program = pack_program(prepared_, Rank(r));
      params.input =
          in_place ? params.outputs[r] : reinterpret_cast<std::byte*>(inputs_[at(r)].data());
      params_.push_back(params);
    }
  }
  void make_workers() {
    for (int r = 0; r < n_; ++r) {
      for (int b = 0; b < shared_.tiling.blocks; ++b) workers_.push_back({r, b});
    }
  }
  std::int64_t steps_of(const Worker& worker) const {
    return static_cast<std::int64_t>(shared_.tiling.rounds) *
           params_[at(worker.rank)].program.count * shared_.tiling.pieces;
  }
  Worker& worker(int rank, int block) { return workers_[at(rank * shared_.tiling.blocks + block)]; }

  // The kernel's wait, move and tell. False: it has ended, or has to wait.
  bool go_on(Worker& w) {
    if (w.position == steps_of(w)) return false;
    const StepsParams& params = params_[at(w.rank)];
    const int pieces = shared_.tiling.pieces;
    const auto index = static_cast<int>(w.position % pieces);
    const auto number = static_cast<int>(w.position / pieces % params.program.count);
    const auto round = static_cast<int>(w.position / pieces / params.program.count);
    const schedule::Step& step = params.program.steps[number];
    if (!may_go_on(w, params, step)) return false;
    const StepPiece piece(params, step, w.slots_read.data(), w.slots_pushed.data(), w.block, round,
                          index);
    if (piece.moves()) move(piece);
    tell(w, params, step);
    ++w.position;
    return true;
  }
  bool may_go_on(Worker& w, const StepsParams& params, const schedule::Step& step) const {
    for (int peer = 0; peer < n_; ++peer) {
      const bool awaits = peer != w.rank && params.program.awaits(step, peer);
      if (awaits && w.data[at(peer)] == w.received[at(peer)]) return false;
    }
    if (step.target == schedule::Target::slot) {
      const std::size_t to = at(step.to.value());
      const auto slots = static_cast<std::uint32_t>(shared_.tiling.slots);
      if (w.slots_pushed[to] >= slots && w.credit[to] < w.slots_pushed[to] + 1 - slots)
        return false;
    }
    for (int peer = 0; peer < n_; ++peer) {
      if (peer != w.rank && params.program.awaits(step, peer)) ++w.received[at(peer)];
    }
    return true;
  }
  static void move(const StepPiece& piece) {
    for (std::int64_t i = 0; i < piece.bytes(); i += 4) {
      std::uint32_t sum = 0;
      for (int s = 0; s < piece.sources(); ++s) {
        std::uint32_t next = 0;
        std::memcpy(&next, piece.source(s) + i, 4);
        sum += next;
      }
      for (int t = 0; t < piece.targets(); ++t) std::memcpy(piece.target(t) + i, &sum, 4);
    }
    // A slot that has been read may be anything.
    if (!piece.step.reads_slot() && !piece.step.reads_slots()) return;
    for (int s = 0; s < piece.sources(); ++s) {
      const bool own = piece.step.reads_slots()
                           ? piece.params.program.member(piece.step, s) == piece.params.rank
                           : s > 0;
      auto* slot = const_cast<std::byte*>(piece.source(s));
      if (!own)
        std::memset(slot, static_cast<int>(kRubbish), static_cast<std::size_t>(piece.bytes()));
    }
  }
  void tell(Worker& w, const StepsParams& params, const schedule::Step& step) {
    for (int peer = 0; peer < n_; ++peer) {
      if (peer == w.rank || !params.program.awaits(step, peer)) continue;
      if (!step.reads_slot() && !step.reads_slots()) continue;
      worker(peer, w.block).credit[at(w.rank)] = ++w.slots_read[at(peer)];
    }
    if (step.target == schedule::Target::none) return;
    const int to = step.to.value();
    if (step.target == schedule::Target::slot) ++w.slots_pushed[at(to)];
    ++worker(to, w.block).data[at(w.rank)];
  }

  Prepared prepared_;
  int n_;
  StepsParams shared_{};
  std::vector<StepsParams> params_;  // by rank
  std::vector<std::vector<std::uint32_t>> inputs_, outputs_;
  std::vector<std::vector<std::byte>> arenas_;
  std::vector<Worker> workers_;
};

TEST_CASE("a program is the schedule's own, with its groups in their order") {
  for (int n = 1; n <= kMaxCudaRanks; ++n) {
    for (const Case& c : cases(n)) {
      CAPTURE(c.name);
      const Prepared prepared = schedule::prepare(c.schedule);
      CHECK(program_problem(c.schedule).empty());
      for (int r = 0; r < n; ++r) {
        const StepProgram program = pack_program(prepared, Rank(r));
        const schedule::Program& steps = c.schedule.programs[static_cast<std::size_t>(r)];
        REQUIRE(program.count == static_cast<std::int32_t>(steps.size()));
        for (int i = 0; i < program.count; ++i) {
          schedule::Step step = program.steps[i];
          std::vector<int> want, got;
          for_each_member(c.schedule, steps[static_cast<std::size_t>(i)],
                          [&](int member) { want.push_back(member); });
          for (int k = 0; k < program.members(step); ++k) got.push_back(program.member(step, k));
          CHECK(got == want);
          step.group = steps[static_cast<std::size_t>(i)].group;
          CHECK(step == steps[static_cast<std::size_t>(i)]);
        }
        for (int peer = 0; peer < n; ++peer) {
          CHECK(program.lane_from[peer] == prepared.lane(r, peer));
          CHECK(program.lane_there[peer] == prepared.lane(peer, r));
        }
      }
    }
  }
}

TEST_CASE("a program that is too long for the kernel is refused, and one that pulls is none") {
  const Schedule longer = schedule::two_shot::materialise(WorldSize(30));
  CHECK(program_problem(longer) == "its kernel takes up to 64 steps a rank, and there are 88");
  const Prepared pulls = schedule::prepare(schedule::two_shot::materialise(WorldSize(3)));
  CHECK_THROWS_AS(pack_program(pulls, Rank(0)), Error);
}

TEST_CASE("every schedule is proven with the pieces and slots that its tilings have") {
  for (int n = 1; n <= kMaxCudaRanks; ++n) {
    for (const Case& c : cases(n)) {
      const std::int32_t lanes = schedule::prepare(c.schedule).slot_lanes;
      const std::int32_t most = steps_limits(lanes, std::int64_t{1} << 40, 1).pieces;
      CHECK(most == (lanes <= 1 ? kMostStepPieces : 1));
      for (std::int32_t pieces = 1; pieces <= most; ++pieces) {
        for (const bool in_place : {false, true}) {
          if (in_place && c.collective != Collective::all_reduce) continue;
          CAPTURE(c.name);
          CAPTURE(pieces);
          const auto flaw = verify(c.schedule, contract_of(c), {pieces, 2 * pieces, in_place});
          CHECK_MESSAGE(!flaw.has_value(), flaw.value_or(""));
        }
      }
    }
  }
}

TEST_CASE("the slots of a tiling fit the scratch it was given") {
  for (std::int32_t lanes = 0; lanes < kMaxCudaRanks; ++lanes) {
    for (std::int64_t scratch = std::max<std::int64_t>(1, steps_least(lanes)); scratch <= 64 << 20;
         scratch = scratch * 3 / 2 + 1) {
      for (const std::int32_t blocks : {1, 7, 64, 132}) {
        const schedule::TilingLimits limits = steps_limits(lanes, scratch, blocks);
        CHECK(limits.blocks >= 1);
        CHECK(limits.blocks <= blocks);
        CHECK(limits.pieces >= 1);
        CHECK(steps_least(lanes) * limits.pieces * limits.blocks <= scratch);
      }
    }
  }
}

TEST_CASE("the walk over the pieces gives the right results, for any length, blocks and scratch") {
  for (const int n : {2, 3, 4, 5, 8, 16}) {
    for (const Case& c : cases(n)) {
      const std::int32_t lanes = schedule::prepare(c.schedule).slot_lanes;
      for (const std::int64_t rows : {1, 4099, 70'001}) {
        if (rows > 5000 && n > 5) continue;
        for (const std::int32_t blocks : {1, 3}) {
          const bool reduces_all = c.collective == Collective::all_reduce;
          for (const bool in_place : {false, true}) {
            if (in_place && !reduces_all) continue;
            CAPTURE(c.name);
            CAPTURE(rows);
            CAPTURE(blocks);
            CAPTURE(in_place);
            // What one block needs, or enough for all.
            const std::int64_t scratch = steps_least(lanes) * (blocks == 1 ? 1 : 2 * blocks);
            Machine machine(c, rows, scratch, blocks, in_place);
            REQUIRE(machine.run());
            for (int r = 0; r < n; ++r) REQUIRE(machine.wrong(c.collective, r) == 0);
            CHECK(machine.stayed_in_its_scratch());
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace weft::collectives::cuda
