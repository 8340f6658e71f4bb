#include "collectives/chunks.h"

#include <algorithm>
#include <climits>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

#include "collectives/executor/cuda/executor.h"
#include "collectives/request.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

void while_idle(fabric::Fabric& fabric, FunctionRef<void()> f) {
  if (fabric.while_idle(Deadline::after_ns(fabric.timeout_ns()), f)) return;
  fail(ErrorCode::collective_timeout, "operations under way have not ended: no trace of chunks");
}

std::unique_ptr<fabric::ChunkLog> make_log(const fabric::Fabric& fabric) {
  std::vector<fabric::ChunkLog::Place> places;
  for (Rank rank(0); rank.value() < fabric.world().value(); ++rank) {
    places.push_back({&fabric.device(rank), fabric.stream(rank)});
  }
  return std::make_unique<fabric::ChunkLog>(places, fabric.arena(Rank(0)).layout.blocks);
}

// What every device's clock says, and the host's.
std::vector<ClockSample> sample_clocks(const fabric::Fabric& fabric) {
  std::vector<ClockSample> clocks;
  if (fabric.backend() != DeviceKind::cuda) return clocks;
  for (Rank rank(0); rank.value() < fabric.world().value(); ++rank) {
    clocks.push_back(cuda_clock(fabric, rank));
  }
  return clocks;
}

// From a device's nanoseconds to the host's, by what both said before and after.
class HostTime {
 public:
  HostTime(const ClockSample& first, const ClockSample& last) : first_(first) {
    const auto device = static_cast<double>(last.device_ns - first.device_ns);
    const auto host = static_cast<double>(last.host_ns - first.host_ns);
    if (device > 0) rate_ = host / device;
  }
  std::int64_t operator()(double device_ns) const {
    const double since = device_ns - static_cast<double>(first_.device_ns);
    return first_.host_ns + static_cast<std::int64_t>(since * rate_);
  }

 private:
  ClockSample first_;
  double rate_ = 1;
};

// Nanoseconds a cycle, by the anchors of block 0; 0: not known.
class CycleTimes {
 public:
  explicit CycleTimes(std::span<const fabric::ChunkRecord> records) {
    for (const fabric::ChunkRecord& anchor : records) {
      if (anchor.piece != fabric::ChunkRecord::kAnchor || anchor.t_signal == 0) continue;
      const auto cycles = static_cast<double>(anchor.t_signal - anchor.t_ready);
      const double takes = static_cast<double>(anchor.t_moved - anchor.t_wait) / cycles;
      if (cycles >= kShort) of_[anchor.operation] = takes;
      // The clock of nanoseconds goes in steps: the longest operation says it best.
      if (cycles > longest_) {
        longest_ = cycles;
        best_ = takes;
      }
    }
  }
  // Of an operation; a short one is taken to be as fast as the longest.
  double of(std::uint32_t operation) const {
    const auto found = of_.find(operation);
    return found == of_.end() ? best_ : found->second;
  }

 private:
  static constexpr double kShort = 100'000;  // cycles

  std::unordered_map<std::uint32_t, double> of_;
  double longest_ = 0;
  double best_ = 0;
};

// From cycles to the host's clock, by the anchor behind a block's records of an operation.
class Anchored {
 public:
  Anchored(const fabric::ChunkRecord& anchor, double cycle, const HostTime& host)
      : anchor_(anchor), host_(host), rate_(cycle) {}
  void operator()(fabric::ChunkRecord& record) const {
    for (std::int64_t* time :
         {&record.t_wait, &record.t_ready, &record.t_moved, &record.t_signal}) {
      const auto since = static_cast<double>(*time - anchor_.t_ready);
      *time = host_(static_cast<double>(anchor_.t_wait) + since * rate_);
    }
  }

 private:
  const fabric::ChunkRecord& anchor_;
  const HostTime& host_;
  double rate_;
};

// Adds a rank's records with times on the host's clock. Those without an anchor, of blocks that
// left an operation or whose anchor found no room, are dropped.
void add_converted(fabric::ChunkLog::Content content, const HostTime& host, ChunkTrace& trace) {
  std::vector<fabric::ChunkRecord>& all = content.records;
  trace.dropped += content.dropped;
  const CycleTimes cycles(all);
  std::size_t first = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool same = all[i].block == all[first].block && all[i].operation == all[first].operation;
    if (!same) {
      trace.dropped += i - first;
      first = i;
    }
    if (all[i].piece != fabric::ChunkRecord::kAnchor) continue;
    const Anchored convert(all[i], cycles.of(all[i].operation), host);
    std::for_each(all.begin() + static_cast<std::ptrdiff_t>(first),
                  all.begin() + static_cast<std::ptrdiff_t>(i), convert);
    trace.records.insert(trace.records.end(), all.begin() + static_cast<std::ptrdiff_t>(first),
                         all.begin() + static_cast<std::ptrdiff_t>(i));
    first = i + 1;
  }
  trace.dropped += all.size() - first;
}

std::int64_t ns(double seconds) { return static_cast<std::int64_t>(seconds * 1e9); }

}  // namespace

void start_chunks(fabric::Fabric& fabric) {
  fabric.check_usable();
  while_idle(fabric, [&] {
    Session& s = session(fabric);
    const std::scoped_lock lock(s.mutex);
    if (!s.chunks) s.chunks = make_log(fabric);
    s.clocks = sample_clocks(fabric);
    s.chunks->start();
    s.tracing_chunks = true;
    s.predicted_chunks.clear();
    s.predicted_dropped = 0;
  });
}

ChunkTrace stop_chunks(fabric::Fabric& fabric) {
  ChunkTrace trace;
  while_idle(fabric, [&] {
    Session& s = session(fabric);
    const std::scoped_lock lock(s.mutex);
    if (!s.tracing_chunks) return;
    s.tracing_chunks = false;
    s.chunks->stop();
    const std::vector<ClockSample> clocks = sample_clocks(fabric);
    for (Rank rank(0); rank.value() < fabric.world().value(); ++rank) {
      fabric::ChunkLog::Content content = s.chunks->take(rank);
      if (!clocks.empty()) {
        const auto r = static_cast<std::size_t>(rank.value());
        add_converted(std::move(content), HostTime(s.clocks[r], clocks[r]), trace);
        trace.residual_ns =
            std::max({trace.residual_ns, s.clocks[r].residual_ns, clocks[r].residual_ns});
        continue;
      }
      trace.records.insert(trace.records.end(), content.records.begin(), content.records.end());
      trace.dropped += content.dropped;
    }
    trace.predicted = std::exchange(s.predicted_chunks, {});
    trace.predicted_dropped = s.predicted_dropped;
  });
  trace.clock = fabric.backend() == DeviceKind::cuda ? ClockSource::device : ClockSource::host;
  return trace;
}

void predict_chunks(fabric::Fabric& fabric, const Plan& plan) {
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  if (!s.tracing_chunks) return;
  const auto keep = [&](const schedule::PieceTimes& piece) {
    if (s.predicted_chunks.size() >= fabric::ChunkLog::kRecords) {
      ++s.predicted_dropped;
      return;
    }
    fabric::ChunkRecord record;
    record.t_wait = ns(piece.wait);
    record.t_ready = ns(piece.ready);
    record.t_moved = ns(piece.moved);
    record.t_signal = record.t_moved;  // what is left of the way is the link's
    record.operation = static_cast<std::uint32_t>(plan.limits.operation);
    record.bytes = static_cast<std::int32_t>(std::min<std::int64_t>(piece.bytes, INT32_MAX));
    record.round = piece.round;
    record.rank = static_cast<std::int16_t>(piece.rank);
    record.step = static_cast<std::int16_t>(piece.step);
    record.piece = static_cast<std::int16_t>(piece.piece);
    record.from = static_cast<std::int16_t>(piece.from.value());
    record.to = static_cast<std::int16_t>(piece.to.value());
    record.received = static_cast<std::uint32_t>(piece.received);
    record.sent = static_cast<std::uint32_t>(piece.sent);
    s.predicted_chunks.push_back(record);
  };
  const schedule::ObservePiece observe = keep;
  schedule::predict(plan.schedule->schedule, plan.tiling, item_bytes(plan.dtype), fabric.topology(),
                    s.device_of_rank, kLocalRate, &observe);
}

}  // namespace weft::collectives
