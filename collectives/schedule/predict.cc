// The predictor: a discrete-event run of the schedule over links. See predict.h for the model.
#include "collectives/schedule/predict.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "collectives/schedule/shape.h"
#include "core/base/error.h"

namespace weft::schedule {
namespace {

constexpr std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// The tiling, coarse enough to walk: `rounds` x `pieces` parts of every chunk.
class Parts {
 public:
  Parts(const Tiling& tiling, std::int64_t item_bytes, int chunks, std::int64_t most) {
    const int merged_pieces = static_cast<int>(ceil_div(tiling.pieces, most));
    pieces_ = static_cast<int>(ceil_div(tiling.pieces, merged_pieces));
    const std::int64_t most_rounds = std::max<std::int64_t>(1, most / pieces_);
    const int merged_rounds = static_cast<int>(ceil_div(tiling.rounds, most_rounds));
    rounds_ = static_cast<int>(ceil_div(tiling.rounds, merged_rounds));
    slots_ = std::max(pieces_, tiling.slots / merged_pieces);
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const std::int64_t first = std::min(chunk * tiling.chunk_elements, tiling.elements);
      const std::int64_t size = std::min(tiling.chunk_elements, tiling.elements - first);
      total_.push_back(size * item_bytes);
      // Chunks of one size have the same parts: there are at most three sizes.
      const auto same = std::find(total_.begin(), total_.end() - 1, total_.back());
      first_of_.push_back(same == total_.end() - 1 ? at(bytes_.size())
                                                   : first_of_[at(same - total_.begin())]);
      if (same != total_.end() - 1) continue;
      bytes_.resize(bytes_.size() + at(rounds_) * at(pieces_));
      for (int round = 0; round < tiling.rounds; ++round) {
        for (int i = 0; i < tiling.pieces; ++i) {
          const std::size_t part = at(round / merged_rounds) * at(pieces_) + at(i / merged_pieces);
          bytes_[first_of_.back() + part] += piece_elements(tiling, chunk, round, i) * item_bytes;
        }
      }
    }
    for (int round = 0; round < rounds_; ++round) {
      real_rounds_.push_back(std::min(merged_rounds, tiling.rounds - round * merged_rounds));
    }
  }

  int rounds() const { return rounds_; }
  int pieces() const { return pieces_; }
  int slots() const { return slots_; }
  int real_rounds(int round) const { return real_rounds_[at(round)]; }
  std::int64_t chunk_bytes(Chunk chunk) const { return total_[at(chunk.value())]; }
  std::int64_t bytes(Chunk chunk, int round, int piece) const {
    return bytes_[first_of_[at(chunk.value())] + at(round) * at(pieces_) + at(piece)];
  }

 private:
  // The pieces of one number of all blocks lie side by side.
  static std::int64_t piece_elements(const Tiling& tiling, int chunk, int round, int i) {
    return tiling.piece(chunk, tiling.blocks - 1, round, i).end -
           tiling.piece(chunk, 0, round, i).begin;
  }

  int rounds_ = 0, pieces_ = 0, slots_ = 0;
  std::vector<std::int64_t> total_;    // by chunk
  std::vector<std::size_t> first_of_;  // by chunk: where its parts start in bytes_
  std::vector<std::int64_t> bytes_;
  std::vector<int> real_rounds_;
};

// The chunk whose size a step moves.
Chunk moved(const Step& step) {
  return step.target == Target::output ? step.out_chunk() : step.chunk;
}

// The way of one lane. What it occupies is its own link, or the ports at both ends.
struct Path {
  std::size_t out = 0;
  std::size_t in = 0;  // the same as `out` where it is a link
  double bytes_per_second = 0;
  double latency = 0;
};

struct Lane {
  Path path;
  bool used = false;
  std::vector<double> arrivals;
  std::vector<double> credits;
  std::size_t received = 0;
  int slot_pushes = 0;
};

struct RankState {
  std::size_t step = 0;
  int round = 0;
  int piece = 0;
  double clock = 0;  // when its last piece got under way
  bool queued = false;
  const Lane* waits_for = nullptr;  // the first it found without what it needs: no need to look on
};

class Forecast {
 public:
  Forecast(const Schedule& schedule, const Parts& parts, std::vector<Lane> lanes,
           std::size_t resources, const ObservePiece* observe)
      : schedule_(schedule),
        observe_(observe),
        parts_(parts),
        lanes_(std::move(lanes)),
        free_at_(resources, 0.0),
        ranks_(schedule.programs.size()) {}

  double run() {
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) enqueue(static_cast<int>(rank));
    while (!ready_.empty()) {
      const auto [when, rank] = ready_.top();
      ready_.pop();
      execute(rank, when);
    }
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (ranks_[rank].round == parts_.rounds() || schedule_.programs[rank].empty()) continue;
      fail(ErrorCode::invalid_argument, "schedule ", schedule_.name, " cannot end: rank ", rank,
           " waits for ever at step ", ranks_[rank].step);
    }
    return end_;
  }

 private:
  Lane& lane(int from, int to) { return lanes_[at(from) * ranks_.size() + at(to)]; }

  // Puts the rank's next piece into the queue, if all that it waits for has a time.
  void enqueue(int rank) {
    RankState& own = ranks_[at(rank)];
    const Program& program = schedule_.programs[at(rank)];
    if (own.queued || own.round == parts_.rounds() || program.empty()) return;
    if (own.waits_for && own.waits_for->received >= own.waits_for->arrivals.size()) return;
    own.waits_for = nullptr;
    const Step& step = program[own.step];
    double when = own.clock;
    for_each_source(schedule_, rank, step, [&](int from) {
      const Lane& in = lane(from, rank);
      if (in.received >= in.arrivals.size()) {
        own.waits_for = &in;
      } else {
        when = std::max(when, in.arrivals[in.received]);
      }
    });
    if (own.waits_for) return;
    if (step.target == Target::slot) {
      const Lane& out = lane(rank, step.to.value());
      const int credit = out.slot_pushes - parts_.slots();
      if (credit >= static_cast<int>(out.credits.size())) return;
      if (credit >= 0) when = std::max(when, out.credits[at(credit)]);
    }
    own.queued = true;
    ready_.push({when, rank});
  }

  // A transfer of the step's piece over a lane, begun at `when`: when it is through.
  double transfer(Lane& over, const Step& step, const RankState& own, double when) {
    const auto bytes = static_cast<double>(parts_.bytes(moved(step), own.round, own.piece));
    const double takes = bytes / over.path.bytes_per_second;
    double& out_free = free_at_[over.path.out];
    out_free = std::max(when, out_free) + takes;
    if (over.path.in == over.path.out) return out_free;
    double& in_free = free_at_[over.path.in];
    in_free = std::max(when, in_free) + takes;
    return std::max(out_free, in_free);
  }

  void execute(int rank, double when) {
    RankState& own = ranks_[at(rank)];
    const Step& step = schedule_.programs[at(rank)][own.step];
    const int alike = parts_.real_rounds(own.round);
    const double before = own.clock;
    const double ready = when;
    own.clock = when;
    own.queued = false;
    double read = when;  // when the source has been read
    double arrived = 0;
    if (step.pulls()) {
      // A read goes there and back; what follows needs what was read.
      for_each_source(schedule_, rank, step, [&](int from) {
        Lane& in = lane(from, rank);
        read = std::max(read, transfer(in, step, own, when) + 2 * in.path.latency * alike);
      });
      own.clock = when = read;
      end_ = std::max(end_, read);
    }
    if (step.target != Target::none) {
      Lane& out = lane(rank, step.to.value());
      if (step.target != Target::token) read = transfer(out, step, own, when);
      arrived = read + out.path.latency * alike;
      out.arrivals.push_back(arrived);
      if (step.target == Target::slot) ++out.slot_pushes;
      end_ = std::max(end_, out.arrivals.back());
    }
    for_each_source(schedule_, rank, step, [&](int from) {
      Lane& in = lane(from, rank);
      ++in.received;
      if (!step.reads_slot() && !step.reads_slots()) return;
      in.credits.push_back(read + in.path.latency * alike);
      end_ = std::max(end_, in.credits.back());
    });
    if (observe_) tell(rank, step, before, ready, read, std::max(read, arrived));
    advance(own, schedule_.programs[at(rank)].size());
    enqueue(rank);
    if (step.to != kNobody) enqueue(step.to.value());
    for_each_source(schedule_, rank, step, [&](int from) { enqueue(from); });
  }

  // What execute() found, before the rank goes on.
  void tell(int rank, const Step& step, double before, double ready, double read, double arrived) {
    const RankState& own = ranks_[at(rank)];
    PieceTimes piece{rank, static_cast<int>(own.step), own.round, own.piece, step.from, step.to};
    piece.wait = before;
    piece.ready = ready;
    piece.moved = read;
    piece.arrived = arrived;
    if (step.source != Source::none) {
      piece.bytes = parts_.bytes(moved(step), own.round, own.piece);
    }
    if (step.to != kNobody) piece.sent = lane(rank, step.to.value()).arrivals.size();
    if (step.from == kEveryone) {
      for_each_source(schedule_, rank, step, [&](int from) {
        const Lane& in = lane(from, rank);
        const double seen = std::max(piece.wait, in.arrivals[in.received - 1]);
        (*observe_)({rank, piece.step, piece.round, piece.piece, Rank(from), kNobody, in.received,
                     0, 0, piece.wait, seen, seen, seen});
        piece.wait = seen;
      });
    } else if (step.from != kNobody) {
      piece.received = lane(step.from.value(), rank).received;
    }
    (*observe_)(piece);
  }

  void advance(RankState& own, std::size_t steps) const {
    if (++own.piece < parts_.pieces()) return;
    own.piece = 0;
    if (++own.step < steps) return;
    own.step = 0;
    ++own.round;
  }

  using Ready = std::pair<double, int>;

  const Schedule& schedule_;
  const ObservePiece* observe_;
  const Parts& parts_;
  std::vector<Lane> lanes_;
  std::vector<double> free_at_;  // by link and port
  std::vector<RankState> ranks_;
  std::priority_queue<Ready, std::vector<Ready>, std::greater<>> ready_;
  double end_ = 0;
};

// Links by pair, then for each kind of port those that devices send through, and receive through.
std::size_t count_resources(const topology::Topology& topology) {
  return at(topology.size()) * (at(topology.size()) + 6);
}

Path find_path(const topology::Topology& topology, int from, int to, double local_rate) {
  const std::size_t number = at(from) * at(topology.size()) + at(to);
  if (from == to) return {number, number, local_rate, kLocalLatency};
  const topology::Link& link = topology.link(from, to);
  if (!link.bytes_per_second) {
    fail(ErrorCode::topology, "no rate is known for the link from ", topology.node(from).name, " ",
         from, " to ", topology.node(to).name, " ", to, " of ", topology.name());
  }
  Path path{number, number, *link.bytes_per_second, link.latency_seconds.value_or(0.0)};
  const topology::SharedPort port = topology::shared_port(link);
  if (port == topology::SharedPort::none) return path;
  const std::size_t n = at(topology.size());
  const std::size_t first = n * n + 2 * n * (static_cast<std::size_t>(port) - 1);
  path.out = first + at(from);
  path.in = first + n + at(to);
  return path;
}

void check_arguments(const Schedule& schedule, std::int64_t item_bytes,
                     const topology::Topology& topology, std::span<const int> device_of_rank,
                     double local_bytes_per_second) {
  if (device_of_rank.size() != at(schedule.world.value())) {
    fail(ErrorCode::invalid_argument, "devices are given for ", device_of_rank.size(), " ranks of ",
         schedule.world);
  }
  for (const int device : device_of_rank) {
    if (device >= 0 && device < topology.size()) continue;
    fail(ErrorCode::invalid_argument, "device ", device, " is not one of the ", topology.size(),
         " of ", topology.name());
  }
  if (item_bytes < 1 || !(local_bytes_per_second > 0)) {
    fail(ErrorCode::invalid_argument, "element size (", item_bytes, ") and local rate (",
         local_bytes_per_second, ") must be positive");
  }
  if (const auto problem = shape_problem(schedule)) fail(ErrorCode::invalid_argument, *problem);
}

// The link or port whose own transfers take longest, and the lane with most bytes on it.
void find_bottleneck(const std::vector<Lane>& lanes, std::size_t resources, int n,
                     Prediction* result) {
  std::vector<double> busy(resources, 0.0);
  std::vector<double> latency(resources, std::numeric_limits<double>::infinity());
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if (!lanes[i].used) continue;
    const Path& path = lanes[i].path;
    const double takes = static_cast<double>(result->link_bytes[i]) / path.bytes_per_second;
    for (const std::size_t one : {path.out, path.in}) {
      latency[one] = std::min(latency[one], path.latency);
    }
    busy[path.out] += takes;
    if (path.in != path.out) busy[path.in] += takes;
  }
  std::pair<double, std::int64_t> most{0.0, 0};
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    if (!lanes[i].used) continue;
    const Path& path = lanes[i].path;
    const double bound =
        std::max(busy[path.out] + latency[path.out], busy[path.in] + latency[path.in]);
    if (std::pair(bound, result->link_bytes[i]) <= most) continue;
    most = {bound, result->link_bytes[i]};
    result->bottleneck_from = static_cast<int>(i) / n;
    result->bottleneck_to = static_cast<int>(i) % n;
  }
  result->lower_bound_seconds = most.first;
}

}  // namespace

Prediction predict(const Schedule& schedule, const Tiling& tiling, std::int64_t item_bytes,
                   const topology::Topology& topology, std::span<const int> device_of_rank,
                   double local_bytes_per_second, const ObservePiece* observe) {
  check_arguments(schedule, item_bytes, topology, device_of_rank, local_bytes_per_second);
  const int n = schedule.world.value();
  Prediction result;
  result.link_bytes.assign(at(n) * at(n), 0);
  if (tiling.elements == 0 || tiling.rounds == 0) return result;

  std::size_t steps = 1;
  for (const Program& program : schedule.programs) steps += program.size();
  const std::int64_t most = std::clamp<std::int64_t>(kMaxEvents / at(steps), 1, kMaxPieces);
  const Parts parts(tiling, item_bytes, std::max(schedule.inputs(), schedule.outputs()), most);

  std::vector<Lane> lanes(at(n) * at(n));
  const std::size_t resources = count_resources(topology);
  const auto use = [&](int from, int to, std::int64_t bytes) {
    const std::size_t number = at(from) * at(n) + at(to);
    if (!lanes[number].used) {
      lanes[number].path = find_path(topology, device_of_rank[at(from)], device_of_rank[at(to)],
                                     local_bytes_per_second);
      lanes[number].used = true;
    }
    result.link_bytes[number] += bytes;
  };
  for (int rank = 0; rank < n; ++rank) {
    for (const Step& step : schedule.programs[at(rank)]) {
      const bool data = step.source != Source::none;
      const std::int64_t bytes = data ? parts.chunk_bytes(moved(step)) : 0;
      if (step.target != Target::none) use(rank, step.to.value(), bytes);
      if (!step.pulls()) continue;
      for_each_source(schedule, rank, step, [&](int from) { use(from, rank, bytes); });
    }
  }
  find_bottleneck(lanes, resources, n, &result);
  const double seconds = Forecast(schedule, parts, std::move(lanes), resources, observe).run();
  if (seconds < result.lower_bound_seconds * (1 - 1e-9)) {
    fail(ErrorCode::internal, "predicted ", seconds, " s for ", schedule.name,
         ", which is below the bound of ", result.lower_bound_seconds, " s");
  }
  // The run adds up the same times as the bound in another order: this only undoes rounding.
  result.seconds = std::max(seconds, result.lower_bound_seconds);
  return result;
}

}  // namespace weft::schedule
