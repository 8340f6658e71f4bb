// The verifier: a greedy symbolic run with vector clocks. See verify.h for what it proves and why
// one run is enough.
#include "collectives/schedule/verify.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "collectives/schedule/shape.h"
#include "collectives/schedule/sums.h"
#include "core/base/error.h"

namespace weft::schedule {
namespace {

struct Flaw {
  std::string sentence;
};

template <class... Parts>
[[noreturn]] void flaw(const Parts&... parts) {
  throw Flaw{concat(parts...)};
}

// The index-th piece of a rank's program, from 1 on; 0 is before the start.
struct Event {
  int rank = -1;
  int index = 0;
};

// For each rank, how many of its events are known to have happened.
using Clock = std::vector<int>;

// One piece of memory, and its last accesses. Only its owner ever reads it.
struct Cell {
  int sum = Sums::kNothing;
  Event written{};
  int read = 0;  // the owner's event
};

struct Message {
  Event sender{};
  Target target = Target::none;
  int place = 0;
  Clock clock{};
};

struct Lane {
  std::vector<Message> messages;
  std::size_t received = 0;
  int slot_pushes = 0;
  std::vector<Clock> credits;  // the receiver's clock as it freed a slot
  std::vector<Cell> slots;
};

struct RankState {
  int done = 0;  // pieces
  Clock clock;
  std::vector<Cell> input, output;
};

class Verifier {
 public:
  Verifier(const Schedule& schedule, const VerifyOptions& options)
      : schedule_(schedule), options_(options), n_(schedule.world.value()) {}

  void run();

 private:
  void set_up();
  bool can_run(int rank) const;
  void run_piece(int rank);
  void receive(const Event& event, const Step& step);
  int reduce(const Event& event, const Step& step);
  int read(const Event& event, Cell& cell, const std::string& what);
  void write(const Event& event, Cell& cell, int owner, int sum, const std::string& what);
  void push(const Event& event, const Step& step, int sum);
  void check_last_sum(const Event& event, const Step& step, int sum) const;
  void check_lanes() const;
  void check_outputs();
  [[noreturn]] void report_deadlock() const;
  std::string wait_of(int rank, int* awaited) const;

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const Program& program(int rank) const { return schedule_.programs[at(rank)]; }
  RankState& state(int rank) { return ranks_[at(rank)]; }
  const RankState& state(int rank) const { return ranks_[at(rank)]; }
  Lane& lane(int from, int to) { return lanes_[at(from * n_ + to)]; }
  const Lane& lane(int from, int to) const { return lanes_[at(from * n_ + to)]; }
  bool finished(int rank) const {
    return at(state(rank).done) == program(rank).size() * at(options_.pieces);
  }
  const Step& next_step(int rank) const {
    return program(rank)[at(state(rank).done / options_.pieces)];
  }
  int place(const Event& event, const Step& step) const {
    return step.chunk.value() * options_.pieces + (event.index - 1) % options_.pieces;
  }
  Cell& input(int rank, int place) {
    return (options_.in_place ? state(rank).output : state(rank).input)[at(place)];
  }
  bool happened_before(const Event& earlier, const Clock& clock) const {
    return earlier.rank < 0 || clock[at(earlier.rank)] >= earlier.index;
  }
  static void join(Clock& into, const Clock& other) {
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = std::max(into[i], other[i]);
  }
  std::string name(const Event& event) const {
    return concat("rank ", event.rank, " step ", (event.index - 1) / options_.pieces, " piece ",
                  (event.index - 1) % options_.pieces);
  }
  std::string name(int place) const {
    return concat("chunk ", place / options_.pieces, " piece ", place % options_.pieces);
  }
  std::string missing(int sum) const;

  const Schedule& schedule_;
  const VerifyOptions options_;
  const int n_;
  std::vector<RankState> ranks_;
  std::vector<Lane> lanes_;
  Sums sums_;
};

void Verifier::set_up() {
  const int places = n_ * options_.pieces;
  lanes_.resize(at(n_) * at(n_));
  ranks_.resize(at(n_));
  for (int rank = 0; rank < n_; ++rank) {
    RankState& own = state(rank);
    own.clock.assign(at(n_), 0);
    own.output.resize(at(places));
    own.input.resize(at(places));
    for (int p = 0; p < places; ++p) input(rank, p).sum = sums_.input(rank, p);
  }
}

void Verifier::run() {
  if (options_.pieces < 1 || options_.slots < 1) {
    flaw("there are ", options_.pieces, " pieces and ", options_.slots,
         " slots; both must be >= 1");
  }
  if (const auto problem = shape_problem(schedule_)) flaw(*problem);
  set_up();
  for (bool progress = true; progress;) {
    progress = false;
    for (int rank = 0; rank < n_; ++rank) {
      for (; can_run(rank); progress = true) run_piece(rank);
    }
  }
  for (int rank = 0; rank < n_; ++rank) {
    if (!finished(rank)) report_deadlock();
  }
  check_lanes();
  check_outputs();
}

bool Verifier::can_run(int rank) const {
  if (finished(rank)) return false;
  const Step& step = next_step(rank);
  if (step.from != kNobody) {
    const Lane& in = lane(step.from.value(), rank);
    if (in.received == in.messages.size()) return false;
  }
  if (step.target != Target::slot) return true;
  const Lane& out = lane(rank, step.to.value());
  return static_cast<int>(out.credits.size()) > out.slot_pushes - options_.slots;
}

void Verifier::run_piece(int rank) {
  const Step& step = next_step(rank);
  RankState& own = state(rank);
  const Event event{rank, ++own.done};
  own.clock[at(rank)] = event.index;
  if (step.from != kNobody) receive(event, step);
  if (step.target == Target::slot) {
    const Lane& out = lane(rank, step.to.value());
    if (out.slot_pushes >= options_.slots) {
      join(own.clock, out.credits[at(out.slot_pushes - options_.slots)]);
    }
  }
  const int sum = reduce(event, step);
  if (step.keep) {
    if (sums_.terms(sum) != n_) flaw(name(event), ": keeps an unfinished sum, ", missing(sum));
    write(event, own.output[at(place(event, step))], rank, sum, "its own output");
  }
  if (step.target != Target::none) push(event, step, sum);
  if (step.source == Source::input_plus_slot) {
    lane(step.from.value(), rank).credits.push_back(own.clock);
  }
}

void Verifier::receive(const Event& event, const Step& step) {
  Lane& in = lane(step.from.value(), event.rank);
  Message& message = in.messages[in.received++];
  const Target wanted = step.source == Source::input_plus_slot ? Target::slot : Target::output;
  const int wanted_place = place(event, step);
  if (message.target != wanted || message.place != wanted_place) {
    flaw(name(event), ": waits for ", name(wanted_place), " in ",
         wanted == Target::slot ? "a slot" : "its output", ", but ", name(message.sender),
         " pushed ", name(message.place), " into ",
         message.target == Target::slot ? "a slot" : "its output");
  }
  join(state(event.rank).clock, message.clock);
  Clock().swap(message.clock);
}

int Verifier::reduce(const Event& event, const Step& step) {
  const int where = place(event, step);
  if (step.source == Source::output) {
    return read(event, state(event.rank).output[at(where)], "its output of " + name(where));
  }
  const int own = read(event, input(event.rank, where), "its input of " + name(where));
  if (own != sums_.input(event.rank, where)) {
    flaw(name(event), ": reads its input of ", name(where), " after ",
         name(input(event.rank, where).written), " overwrote it");
  }
  int sum = own;
  if (step.source == Source::input_plus_slot) {
    Lane& in = lane(step.from.value(), event.rank);
    // Slot pushes are received in order, and each one gives a credit: so this is its number.
    Cell& slot = in.slots[in.credits.size() % at(options_.slots)];
    const int partial = read(event, slot, concat("the slot of rank ", step.from));
    if (sums_.contains(partial, event.rank)) {
      flaw(name(event), ": adds rank ", event.rank, "'s contribution to ", name(where),
           " a second time: ", sums_.text(partial), "+", event.rank);
    }
    sum = sums_.add(partial, event.rank);
  }
  check_last_sum(event, step, sum);
  return sum;
}

void Verifier::check_last_sum(const Event& event, const Step& step, int sum) const {
  const bool complete = sums_.terms(sum) == n_;
  if (step.last_sum && !complete) {
    flaw(name(event), ": marks the last sum of chunk ", step.chunk, ", ", missing(sum));
  }
  if (complete && !step.last_sum) {
    flaw(name(event), ": completes the sum of chunk ", step.chunk,
         " without marking it as the last");
  }
}

int Verifier::read(const Event& event, Cell& cell, const std::string& what) {
  if (cell.sum == Sums::kNothing) {
    flaw(name(event), ": reads ", what, " before anything was written there");
  }
  if (!happened_before(cell.written, state(event.rank).clock)) {
    flaw(name(event), ": reads ", what, ", and nothing orders that with the write by ",
         name(cell.written));
  }
  cell.read = event.index;
  return cell.sum;
}

void Verifier::write(const Event& event, Cell& cell, int owner, int sum, const std::string& what) {
  const Clock& clock = state(event.rank).clock;
  if (!happened_before(cell.written, clock)) {
    flaw(name(event), ": overwrites ", what, ", and nothing orders that with the write by ",
         name(cell.written));
  }
  if (cell.read > 0 && !happened_before({owner, cell.read}, clock)) {
    flaw(name(event), ": overwrites ", what, ", and nothing orders that with the read by ",
         name(Event{owner, cell.read}));
  }
  cell.sum = sum;
  cell.written = event;
}

void Verifier::push(const Event& event, const Step& step, int sum) {
  const int to = step.to.value();
  const int where = place(event, step);
  Lane& out = lane(event.rank, to);
  if (step.target == Target::slot) {
    out.slots.resize(at(options_.slots));
    write(event, out.slots[at(out.slot_pushes++ % options_.slots)], to, sum,
          concat("a slot of rank ", to));
  } else {
    if (sums_.terms(sum) != n_) {
      flaw(name(event), ": pushes an unfinished sum into the output of rank ", to, ", ",
           missing(sum));
    }
    write(event, state(to).output[at(where)], to, sum,
          concat("the output of rank ", to, " at ", name(where)));
  }
  out.messages.push_back({event, step.target, where, state(event.rank).clock});
}

std::string Verifier::missing(int sum) const {
  std::string out = "which lacks rank";
  for (int rank = 0; rank < n_; ++rank) {
    if (!sums_.contains(sum, rank)) out += concat(" ", rank);
  }
  return out;
}

std::string Verifier::wait_of(int rank, int* awaited) const {
  const Step& step = next_step(rank);
  const Event event{rank, state(rank).done + 1};
  const bool data = step.from != kNobody && lane(step.from.value(), rank).received ==
                                                lane(step.from.value(), rank).messages.size();
  *awaited = data ? step.from.value() : step.to.value();
  return data ? concat(name(event), " waits for a piece from rank ", step.from)
              : concat(name(event), " waits for rank ", step.to, " to free a slot");
}

void Verifier::report_deadlock() const {
  int rank = 0;
  while (finished(rank)) ++rank;
  std::string sentence = "deadlock: ";
  std::vector<bool> seen(at(n_), false);
  while (true) {
    seen[at(rank)] = true;
    int awaited = 0;
    sentence += wait_of(rank, &awaited);
    rank = awaited;
    if (finished(rank)) flaw(sentence, ", which has ended");
    if (seen[at(rank)]) flaw(sentence);
    sentence += "; ";
  }
}

void Verifier::check_lanes() const {
  for (int from = 0; from < n_; ++from) {
    for (int to = 0; to < n_; ++to) {
      const Lane& l = lane(from, to);
      if (l.received == l.messages.size()) continue;
      const Message& first = l.messages[l.received];
      flaw(name(first.sender), ": pushes ", name(first.place), " to rank ", to,
           ", which never receives it");
    }
  }
}

void Verifier::check_outputs() {
  for (int rank = 0; rank < n_; ++rank) {
    for (int p = 0; p < n_ * options_.pieces; ++p) {
      const Cell& cell = state(rank).output[at(p)];
      const std::string where =
          concat("rank ", rank, " after its last step: its output of ", name(p));
      if (cell.written.rank < 0) flaw(where, " was never written");
      if (!happened_before(cell.written, state(rank).clock)) {
        flaw(where, " may still be written by ", name(cell.written));
      }
      if (cell.sum != state(0).output[at(p)].sum) {
        flaw(where, " is ", sums_.text(cell.sum), ", on rank 0 it is ",
             sums_.text(state(0).output[at(p)].sum));
      }
    }
  }
}

}  // namespace

std::optional<std::string> verify_all_reduce(const Schedule& schedule, VerifyOptions options) {
  try {
    Verifier(schedule, options).run();
  } catch (const Flaw& found) {
    return found.sentence;
  }
  return std::nullopt;
}

}  // namespace weft::schedule
