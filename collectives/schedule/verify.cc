// The verifier: a greedy symbolic run with vector clocks. See verify.h for what it proves and why
// one run is enough.
#include "collectives/schedule/verify.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "collectives/schedule/clocks.h"
#include "collectives/schedule/shape.h"
#include "collectives/schedule/sums.h"
#include "core/base/error.h"
#include "core/base/function_ref.h"

namespace weft::schedule {
namespace {

struct Flaw {
  std::string sentence;
};

template <class... Parts>
[[noreturn]] void flaw(const Parts&... parts) {
  throw Flaw{concat(parts...)};
}

// One piece of memory, and its last accesses.
struct Cell {
  int sum = Sums::kNothing;
  Event written{};
  int read = 0;                // the owner's last event that read it
  std::vector<Event> pulls{};  // by peers, since it was written
};

struct Message {
  Stamp sender{};
  Target target = Target::none;
  int place = 0;
};

struct Lane {
  std::vector<Message> messages{};
  std::size_t received = 0;
  int slot_pushes = 0;
  std::vector<Stamp> credits{};  // the receiver's, as it freed a slot
  std::vector<Cell> slots{};
};

struct RankState {
  RankClock clock;
  std::vector<Cell> input{}, output{};
};

class Verifier {
 public:
  Verifier(const Schedule& schedule, const Contract& contract, const VerifyOptions& options)
      : schedule_(schedule),
        contract_(contract),
        options_(options),
        n_(schedule.world.value()),
        sums_(n_) {}

  void run();

 private:
  void set_up();
  bool can_run(int rank) const;
  void run_piece(int rank);
  void receive(const Event& event, const Step& step, int from);
  int sum_of(const Event& event, const Step& step);
  int sum_of_group(const Event& event, const Step& step);
  int own_value(const Event& event, const Step& step);
  int slot_value(const Event& event, int from);
  int pulled_value(const Event& event, const Step& step, int from);
  int add(const Event& event, int first, int second);
  void free_slots(const Step& step, int rank);
  // `what` tells what is accessed, for a sentence that is hardly ever needed.
  using What = FunctionRef<std::string()>;
  int read(const Event& event, Cell& cell, const What& what);
  void check_written(const Event& event, const Cell& cell, const What& what) const;
  void write(const Event& event, Cell& cell, int owner, int sum, const What& what);
  void push(const Event& event, const Step& step, int sum);
  void check_visit(const Event& event, int owner, const char* what) const;
  void check_last_sum(const Event& event, const Step& step, int sum) const;
  bool as_promised(int rank, int place, int sum) const;
  void check_lanes() const;
  void check_outputs();
  void check_output(int rank, int place);
  void check_end(int rank, const Cell& cell, const What& where) const;
  [[noreturn]] void report_deadlock() const;
  std::string wait_of(int rank, int* awaited) const;

  static std::size_t at(int i) { return static_cast<std::size_t>(i); }
  const Program& program(int rank) const { return schedule_.programs[at(rank)]; }
  RankState& state(int rank) { return ranks_[at(rank)]; }
  const RankState& state(int rank) const { return ranks_[at(rank)]; }
  Lane& lane(int from, int to) { return lanes_[at(from) * at(n_) + at(to)]; }
  const Lane& lane(int from, int to) const { return lanes_[at(from) * at(n_) + at(to)]; }
  bool finished(int rank) const {
    return at(state(rank).clock.index()) == program(rank).size() * at(options_.pieces);
  }
  const Step& next_step(int rank) const {
    return program(rank)[at(state(rank).clock.index() / options_.pieces)];
  }
  // The first rank that the next step waits for and that has sent nothing; -1: none.
  int silent(int rank, const Step& step) const {
    int found = -1;
    for_each_source(schedule_, rank, step, [&](int from) {
      const Lane& in = lane(from, rank);
      if (found < 0 && in.received == in.messages.size()) found = from;
    });
    return found;
  }
  int place(const Event& event, Chunk chunk) const {
    return chunk.value() * options_.pieces + (event.index - 1) % options_.pieces;
  }
  Cell& input(int rank, int place) {
    return (options_.in_place ? state(rank).output : state(rank).input)[at(place)];
  }
  std::string name(const Event& event) const {
    return concat("rank ", event.rank, " step ", (event.index - 1) / options_.pieces, " piece ",
                  (event.index - 1) % options_.pieces);
  }
  std::string name(int place) const {
    return concat("chunk ", place / options_.pieces, " piece ", place % options_.pieces);
  }
  std::string name(const Message& message) const {
    switch (message.target) {
      case Target::slot:
        return concat(name(message.place), " into a slot");
      case Target::output:
        return concat(name(message.place), " into its output");
      case Target::token:
      case Target::none:
        break;
    }
    return "a token";
  }
  std::string missing(int sum) const;

  const Schedule& schedule_;
  const Contract& contract_;
  const VerifyOptions options_;
  const int n_;
  std::vector<RankState> ranks_;
  std::vector<Lane> lanes_;
  Sums sums_;
  std::vector<int> first_sums_;  // by place of an input: the first finished sum of it
};

void Verifier::set_up() {
  lanes_.resize(at(n_) * at(n_));
  first_sums_.assign(at(schedule_.inputs() * options_.pieces), Sums::kNothing);
  for (int rank = 0; rank < n_; ++rank) {
    RankState& own = ranks_.emplace_back(RankState{RankClock(rank, n_)});
    const int outputs = schedule_.outputs() * options_.pieces;
    const int inputs = schedule_.inputs() * options_.pieces;
    if (options_.in_place && inputs != outputs) flaw("in place, but the chunks differ");
    own.output.resize(at(outputs));
    if (!options_.in_place) own.input.resize(at(inputs));
    for (int p = 0; p < inputs; ++p) input(rank, p).sum = sums_.input(rank, p);
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
  if (silent(rank, step) >= 0) return false;
  if (step.target != Target::slot) return true;
  const Lane& out = lane(rank, step.to.value());
  return static_cast<int>(out.credits.size()) > out.slot_pushes - options_.slots;
}

void Verifier::run_piece(int rank) {
  const Step& step = next_step(rank);
  RankState& own = state(rank);
  const Event event = own.clock.tick();
  for_each_source(schedule_, rank, step, [&](int from) { receive(event, step, from); });
  if (step.target == Target::slot) {
    Lane& out = lane(rank, step.to.value());
    if (out.slot_pushes >= options_.slots) {
      Stamp& credit = out.credits[at(out.slot_pushes - options_.slots)];
      own.clock.learn(credit);
      credit.before.reset();  // used once; clocks of many ranks are large
    }
  }
  const int sum = sum_of(event, step);
  if (step.keep) {
    write(event, own.output[at(place(event, step.out_chunk()))], rank, sum,
          [] { return std::string("its own output"); });
  }
  if (step.target != Target::none) push(event, step, sum);
  free_slots(step, rank);
}

void Verifier::receive(const Event& event, const Step& step, int from) {
  Lane& in = lane(from, event.rank);
  Message& message = in.messages[in.received++];
  const bool slot = step.reads_slot() || step.reads_slots();
  const Target wanted = slot                            ? Target::slot
                        : step.source == Source::output ? Target::output
                                                        : Target::token;
  const Message expected{{}, wanted, place(event, step.chunk)};
  const bool anywhere = wanted == Target::token || step.source == Source::slot;
  if (message.target != wanted || (!anywhere && message.place != expected.place)) {
    flaw(name(event), ": waits for ", name(expected), ", but ", name(message.sender.event),
         " pushed ", name(message));
  }
  state(event.rank).clock.learn(message.sender);
  message.sender.before.reset();
}

// Own input or the partial sum in own output.
int Verifier::own_value(const Event& event, const Step& step) {
  const int where = place(event, step.chunk);
  if (step.reads_output()) {
    return read(event, state(event.rank).output[at(where)],
                [&] { return "its output of " + name(where); });
  }
  const int own =
      read(event, input(event.rank, where), [&] { return "its input of " + name(where); });
  if (own != sums_.input(event.rank, where)) {
    flaw(name(event), ": reads its input of ", name(where), " after ",
         name(input(event.rank, where).written), " overwrote it");
  }
  return own;
}

int Verifier::slot_value(const Event& event, int from) {
  Lane& in = lane(from, event.rank);
  // Slot pushes are received in order, and each one gives a credit: so this is its number.
  Cell& slot = in.slots[in.credits.size() % at(options_.slots)];
  return read(event, slot, [&] { return concat("the slot of rank ", from); });
}

int Verifier::pulled_value(const Event& event, const Step& step, int from) {
  const int where = place(event, step.chunk);
  Cell& cell = input(from, where);
  check_visit(event, from, "reads the input");
  const auto what = [&] { return concat("the input of rank ", from, " at ", name(where)); };
  check_written(event, cell, what);
  if (cell.sum != sums_.input(from, where)) {
    flaw(name(event), ": reads ", what(), " after ", name(cell.written), " overwrote it");
  }
  cell.pulls.push_back(event);
  return cell.sum;
}

int Verifier::add(const Event& event, int first, int second) {
  const int twice = sums_.shared(first, second);
  if (twice >= 0) {
    flaw(name(event), ": adds rank ", twice, "'s contribution to ", name(sums_.place(second)),
         " a second time: ", sums_.text(first), "+", sums_.text(second));
  }
  return sums_.add(first, second);
}

int Verifier::sum_of_group(const Event& event, const Step& step) {
  int sum = Sums::kNothing;
  for_each_member(schedule_, step, [&](int member) {
    const int next = member == event.rank ? own_value(event, step)
                     : step.pulls()       ? pulled_value(event, step, member)
                                          : slot_value(event, member);
    sum = sum == Sums::kNothing ? next : add(event, sum, next);
  });
  return sum;
}

int Verifier::sum_of(const Event& event, const Step& step) {
  int sum = Sums::kNothing;
  if (step.source == Source::none) return sum;
  if (step.reads_slots() || step.pulls()) {
    sum = sum_of_group(event, step);
  } else if (step.source == Source::slot) {
    return slot_value(event, step.from.value());
  } else {
    sum = own_value(event, step);
    if (step.reads_slot()) sum = add(event, slot_value(event, step.from.value()), sum);
  }
  if (step.source != Source::output) check_last_sum(event, step, sum);
  return sum;
}

void Verifier::free_slots(const Step& step, int rank) {
  if (!step.reads_slot() && !step.reads_slots()) return;
  for_each_source(schedule_, rank, step,
                  [&](int from) { lane(from, rank).credits.push_back(state(rank).clock.stamp()); });
}

void Verifier::check_last_sum(const Event& event, const Step& step, int sum) const {
  if (!step.reduces() && n_ > 1 && !step.last_sum) return;
  const bool complete = sums_.terms(sum) == n_;
  if (step.last_sum && !complete) {
    flaw(name(event), ": marks the last sum of chunk ", step.chunk, ", ", missing(sum));
  }
  if (complete && !step.last_sum && step.reduces()) {
    flaw(name(event), ": completes the sum of chunk ", step.chunk,
         " without marking it as the last");
  }
}

void Verifier::check_written(const Event& event, const Cell& cell, const What& what) const {
  if (cell.sum == Sums::kNothing) {
    flaw(name(event), ": reads ", what(), " before anything was written there");
  }
  if (!state(event.rank).clock.knows(cell.written)) {
    flaw(name(event), ": reads ", what(), ", and nothing orders that with the write by ",
         name(cell.written));
  }
}

int Verifier::read(const Event& event, Cell& cell, const What& what) {
  check_written(event, cell, what);
  cell.read = event.index;
  return cell.sum;
}

void Verifier::write(const Event& event, Cell& cell, int owner, int sum, const What& what) {
  const RankClock& clock = state(event.rank).clock;
  const auto check = [&](const Event& earlier, const char* access) {
    if (clock.knows(earlier)) return;
    flaw(name(event), ": overwrites ", what(), ", and nothing orders that with the ", access,
         " by ", name(earlier));
  };
  check(cell.written, "write");
  if (cell.read > 0) check({owner, cell.read}, "read");
  for (const Event& pull : cell.pulls) check(pull, "read");
  cell.pulls.clear();
  cell.sum = sum;
  cell.written = event;
}

// A peer's memory may be touched once the peer is known to have begun.
void Verifier::check_visit(const Event& event, int owner, const char* what) const {
  if (state(event.rank).clock.knows({owner, 1})) return;
  flaw(name(event), ": ", what, " of rank ", owner, ", which may not have begun");
}

bool Verifier::as_promised(int rank, int place, int sum) const {
  const Expected& expected = contract_.at(rank, place / options_.pieces);
  const int wanted = expected.chunk * options_.pieces + place % options_.pieces;
  if (expected.kind == Expected::Kind::nothing || sum == Sums::kNothing) return false;
  if (sums_.place(sum) != wanted) return false;
  if (expected.kind == Expected::Kind::sum) return sums_.terms(sum) == n_;
  return sums_.terms(sum) == 1 && sums_.contains(sum, expected.rank);
}

void Verifier::push(const Event& event, const Step& step, int sum) {
  const int to = step.to.value();
  Lane& out = lane(event.rank, to);
  int where = place(event, step.chunk);
  if (step.target == Target::slot) {
    out.slots.resize(at(options_.slots));
    write(event, out.slots[at(out.slot_pushes++ % options_.slots)], to, sum,
          [&] { return concat("a slot of rank ", to); });
  } else if (step.target == Target::output) {
    where = place(event, step.out_chunk());
    if (!as_promised(to, where, sum)) {
      flaw(name(event), ": pushes an unfinished sum into the output of rank ", to, ", ",
           missing(sum));
    }
    check_visit(event, to, "writes into the output");
    write(event, state(to).output[at(where)], to, sum,
          [&] { return concat("the output of rank ", to, " at ", name(where)); });
  }
  out.messages.push_back({state(event.rank).clock.stamp(), step.target, where});
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
  const Event event{rank, state(rank).clock.index() + 1};
  const int from = silent(rank, step);
  *awaited = from >= 0 ? from : step.to.value();
  return from >= 0 ? concat(name(event), " waits for a piece from rank ", from)
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
      flaw(name(first.sender.event), ": pushes ", name(first), " to rank ", to,
           ", which never receives it");
    }
  }
}

// The rank has seen the last access of its memory.
void Verifier::check_end(int rank, const Cell& cell, const What& where) const {
  const RankClock& clock = state(rank).clock;
  if (!clock.knows(cell.written)) flaw(where(), " may still be written by ", name(cell.written));
  for (const Event& pull : cell.pulls) {
    if (!clock.knows(pull)) flaw(where(), " may still be read by ", name(pull));
  }
}

void Verifier::check_output(int rank, int place) {
  const Cell& cell = state(rank).output[at(place)];
  const Expected& expected = contract_.at(rank, place / options_.pieces);
  const auto where = [&] {
    return concat("rank ", rank, " after its last step: its output of ", name(place));
  };
  if (expected.kind == Expected::Kind::nothing) {
    if (cell.written.rank >= 0) flaw(where(), " was written by ", name(cell.written));
    return check_end(rank, cell, where);
  }
  const bool own_input = options_.in_place && expected.kind == Expected::Kind::copy &&
                         cell.sum == sums_.input(rank, place);
  if (cell.written.rank < 0 && !own_input) flaw(where(), " was never written");
  check_end(rank, cell, where);
  if (!as_promised(rank, place, cell.sum)) {
    flaw(where(), " holds ", sums_.text(cell.sum), ", which is not what was promised");
  }
  if (expected.kind == Expected::Kind::copy) return;
  int& first = first_sums_[at(sums_.place(cell.sum))];
  if (first == Sums::kNothing) first = cell.sum;
  if (cell.sum != first) {
    flaw(where(), " is ", sums_.text(cell.sum), ", on a rank before it is ", sums_.text(first));
  }
}

void Verifier::check_outputs() {
  for (int rank = 0; rank < n_; ++rank) {
    for (int p = 0; p < schedule_.outputs() * options_.pieces; ++p) check_output(rank, p);
    for (std::size_t p = 0; p < state(rank).input.size(); ++p) {
      const Cell& cell = state(rank).input[p];
      if (cell.pulls.empty()) continue;
      check_end(rank, cell, [&] {
        return concat("rank ", rank, " after its last step: its input of ",
                      name(static_cast<int>(p)));
      });
    }
  }
}

}  // namespace

std::optional<std::string> verify(const Schedule& schedule, const Contract& contract,
                                  VerifyOptions options) {
  try {
    Verifier(schedule, contract, options).run();
  } catch (const Flaw& found) {
    return found.sentence;
  }
  return std::nullopt;
}

std::optional<std::string> verify_all_reduce(const Schedule& schedule, VerifyOptions options) {
  return verify(schedule, contracts::all_reduce(schedule), options);
}

}  // namespace weft::schedule
