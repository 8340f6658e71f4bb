// What a fabric's events tell besides its operations.
#include "fabric/fabric.h"

namespace weft::fabric {

void Fabric::record_event(const Notice& notice) noexcept {
  if (!events_on_) return;
  EventRecord event;
  event.kind = notice.kind;
  event.op_id = notice.operation;
  event.rank = notice.rank;
  if (notice.rank >= 0) {
    event.device = device(Rank(notice.rank)).id().ordinal.value();
    event.stream = static_cast<std::uint64_t>(notice.rank);
  }
  event.bytes = notice.bytes;
  event.dtype = notice.dtype;
  event.set_path(notice.path);
  event.status = notice.failed ? EventStatus::failed : EventStatus::ok;
  event.culprit = notice.culprit;
  event.t_end_ns = now_ns();
  event.t_start_ns = notice.begin_ns > 0 ? notice.begin_ns : event.t_end_ns;
  event.t_enqueue_ns = event.t_start_ns;
  event.clock = ClockSource::host;
  events_.record(event);
}

// Of no operation that has a number: a meeting that not every rank came to, a caller's graph.
void Fabric::record_fault(const Error& error, Rank rank, std::int64_t since_ns) {
  stats_.add_fault(error.code());
  const auto& culprits = error.context().culprits;
  record_event({.kind = EventKind::fault,
                .begin_ns = since_ns,
                .rank = rank.value(),
                .culprit = culprits.empty() ? -1 : culprits.front(),
                .failed = true});
}

}  // namespace weft::fabric
