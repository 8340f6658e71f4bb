// See bench.h.
#include "topology/probe/bench.h"

#include <algorithm>
#include <atomic>

#include "core/base/clock.h"
#include "core/base/error.h"

namespace weft::topology {
namespace {

constexpr std::int64_t kGateTimeoutNs = 2'000'000'000;
constexpr std::int64_t kFlagTimeoutNs = 1'000'000'000;
constexpr std::int32_t kWarmFlags = 10;
constexpr std::int64_t kLine = 128;

std::int64_t host_bytes(const Plan& plan) {
  std::int64_t most = 0;
  for (const Trial& trial : plan.trials) {
    for (const Transfer& transfer : trial.transfers) {
      if (transfer.from == kHostMemory || transfer.to == kHostMemory)
        most = std::max(most, trial.bytes);
    }
  }
  return most;
}

std::int64_t largest(const Plan& plan) {
  std::int64_t most = 0;
  for (const Trial& trial : plan.trials) most = std::max(most, trial.bytes);
  return most;
}

[[noreturn]] void too_late(const char* what, const Device& device) {
  throw Error(ErrorCode::collective_timeout, concat(what, " on ", device.id().str(), " in time"),
              {.device = device.id().str()});
}

}  // namespace

Bench::Bench(std::span<Device* const> devices, const Plan& plan, std::int64_t wait_ns)
    : stations_(devices.size()), wait_ns_(wait_ns) {
  for (std::size_t i = 0; i < devices.size(); ++i) stations_[i].device = devices[i];
  if (devices.empty()) return;
  try {
    open(plan);
    open_peers();
  } catch (...) {
    release();
    throw;
  }
}

Bench::~Bench() { release(); }

void Bench::open(const Plan& plan) {
  std::int64_t bytes = largest(plan);
  for (const Trial& trial : plan.trials) {
    if (trial.what != "all_pairs") continue;
    slice_ = trial.bytes;
    bytes = std::max(bytes, slice_ * static_cast<std::int64_t>(stations_.size()));
  }
  Device& first = *stations_.front().device;
  gate_ = static_cast<Gate*>(first.allocate_pinned(Bytes(sizeof(Gate))));
  gate_report_ = static_cast<GateReport*>(first.allocate_pinned(Bytes(sizeof(GateReport))));
  flag_reports_ = static_cast<FlagReport*>(
      first.allocate_pinned(Bytes(static_cast<std::int64_t>(sizeof(FlagReport))) *
                            static_cast<std::int64_t>(stations_.size())));
  host_source_ = static_cast<std::byte*>(first.allocate_pinned(Bytes(host_bytes(plan))));
  host_target_ = static_cast<std::byte*>(first.allocate_pinned(Bytes(host_bytes(plan))));
  for (Station& station : stations_) {
    Device& device = *station.device;
    probe_works(device.id().kind).preload(device);
    station.source = static_cast<std::byte*>(device.allocate(Bytes(largest(plan))));
    station.target = static_cast<std::byte*>(device.allocate(Bytes(bytes)));
    station.flag = static_cast<std::uint32_t*>(device.allocate(Bytes(kLine)));
    station.start = device.create_timed_event();
    // Each with its events; places in the vector stay.
    station.lanes.reserve(stations_.size() + 1);
    for (std::size_t i = 0; i < stations_.size() + 1; ++i) {
      Lane& lane = station.lanes.emplace_back();
      lane.stream = device.create_stream(StreamPriority::normal);
      lane.end = device.create_timed_event();
    }
    const Placed at{&station, &station.lanes.front()};
    device.fill(at.lane->stream, station.source, 0x5a, Bytes(largest(plan)));
    device.fill(at.lane->stream, station.flag, 0, Bytes(kLine));
    device.record(at.lane->end, at.lane->stream);
    wait(at);
  }
}

void Bench::open_peers() {
  for (const Station& from : stations_) {
    for (const Station& to : stations_) {
      const DeviceId peer = to.device->id();
      if (&from != &to && from.device->can_access(peer)) from.device->enable_peer(peer);
    }
  }
}

void Bench::release() noexcept {
  if (gate_) std::atomic_ref(gate_->opened).fetch_add(1, std::memory_order_relaxed);
  for (Station& station : stations_) {
    Device& device = *station.device;
    for (const Lane& lane : station.lanes) {
      try {
        if (!lane.stream.handle || !lane.end.handle) continue;
        device.record(lane.end, lane.stream);
        static_cast<void>(device.synchronize(lane.end, Deadline::after_ns(wait_ns_)));
      } catch (const std::exception&) {  // of a device that is lost nothing runs
      }
    }
  }
  for (Station& station : stations_) {
    Device& device = *station.device;
    for (const Lane& lane : station.lanes) {
      device.destroy_stream(lane.stream);
      device.destroy_event(lane.end);
    }
    device.destroy_event(station.start);
    device.deallocate(station.source);
    device.deallocate(station.target);
    device.deallocate(station.flag);
  }
  if (stations_.empty()) return;
  Device& first = *stations_.front().device;
  first.deallocate_pinned(gate_);
  first.deallocate_pinned(gate_report_);
  first.deallocate_pinned(flag_reports_);
  first.deallocate_pinned(host_source_);
  first.deallocate_pinned(host_target_);
}

std::vector<double> Bench::sample(const Trial& trial) {
  for (Station& station : stations_) station.used = 0;
  return trial.engine == Engine::flag ? flags(trial) : time(trial);
}

// Which device does the transfer.
Bench::Station& Bench::runner(const Trial& trial, const Transfer& transfer) {
  const bool receives = trial.engine == Engine::sm_pull || transfer.from == kHostMemory;
  return stations_[static_cast<std::size_t>(receives ? transfer.to : transfer.from)];
}

Bench::Placed Bench::place(Station& station) {
  return {&station, &station.lanes.at(station.used++)};
}

std::byte* Bench::address(int end, bool is_source) const {
  if (end == kHostMemory) return is_source ? host_source_ : host_target_;
  const Station& station = stations_[static_cast<std::size_t>(end)];
  return is_source ? station.source : station.target;
}

void Bench::enqueue(const Placed& at, const Trial& trial, const Transfer& transfer) {
  Device& device = *at.station->device;
  const std::byte* from = address(transfer.from, true);
  std::byte* to = address(transfer.to, false);
  CopyParams params{to, from, trial.bytes, 1};
  if (trial.what == "all_pairs") {
    params.to = to += transfer.from * slice_;
    params.share = static_cast<std::int32_t>(stations_.size()) - 1;
  }
  const Work work = Work::make("transfer", probe_works(device.id().kind).copy, params);
  for (std::int32_t i = 0; i < trial.repeats; ++i) {
    if (trial.engine == Engine::copy_engine) {
      device.copy(at.lane->stream, to, from, Bytes(trial.bytes));
    } else {
      device.submit(at.lane->stream, work);
    }
  }
  device.record(at.lane->end, at.lane->stream);
}

std::vector<double> Bench::time(const Trial& trial) {
  std::atomic_ref gate(gate_->opened);
  const std::uint32_t goal = gate.load(std::memory_order_relaxed) + 1;
  std::vector<Placed> placed;
  for (const Transfer& transfer : trial.transfers) {
    Station& station = runner(trial, transfer);
    Device& device = *station.device;
    const bool first = station.used == 0;
    const Placed at = placed.emplace_back(place(station));
    if (first) {
      const GateParams params{gate_, gate_report_, goal, kGateTimeoutNs};
      device.submit(at.lane->stream,
                    Work::make("gate", probe_works(device.id().kind).gate, params));
      device.record(station.start, at.lane->stream);
    } else {
      device.wait(at.lane->stream, station.start);
    }
  }
  for (std::size_t i = 0; i < placed.size(); ++i) enqueue(placed[i], trial, trial.transfers[i]);
  gate.store(goal, std::memory_order_relaxed);
  std::vector<double> seconds;
  for (const Placed& at : placed) wait(at);
  check_gate();
  for (const Placed& at : placed) {
    seconds.push_back(1e-6 * at.station->device->elapsed_us(at.station->start, at.lane->end));
  }
  return seconds;
}

FlagParams Bench::throws_flags(const Trial& trial, const Transfer& transfer, bool serves) const {
  const auto self = static_cast<std::size_t>(serves ? transfer.from : transfer.to);
  const auto peer = static_cast<std::size_t>(serves ? transfer.to : transfer.from);
  FlagParams params;
  params.mine = stations_[self].flag;
  params.peers = stations_[peer].flag;
  params.report = flag_reports_ + self;
  params.base = base_;
  params.warm = kWarmFlags;
  params.rounds = trial.repeats;
  params.serves = serves;
  params.timeout_ns = kFlagTimeoutNs;
  return params;
}

std::vector<double> Bench::flags(const Trial& trial) {
  std::vector<Placed> placed;
  for (const Transfer& transfer : trial.transfers) {
    for (const bool serves : {false, true}) {
      Station& station = stations_[static_cast<std::size_t>(serves ? transfer.from : transfer.to)];
      Device& device = *station.device;
      const Placed at = placed.emplace_back(place(station));
      device.submit(at.lane->stream, Work::make("flags", probe_works(device.id().kind).flags,
                                                throws_flags(trial, transfer, serves)));
      device.record(at.lane->end, at.lane->stream);
    }
  }
  base_ += static_cast<std::uint32_t>(kWarmFlags + trial.repeats);
  for (const Placed& at : placed) wait(at);
  std::vector<double> seconds;
  for (const Transfer& transfer : trial.transfers) {
    for (const int end : {transfer.from, transfer.to}) {
      const auto index = static_cast<std::size_t>(end);
      if (flag_reports_[index].late != 0) too_late("a flag did not come", *stations_[index].device);
    }
    seconds.push_back(
        1e-9 * static_cast<double>(flag_reports_[static_cast<std::size_t>(transfer.from)].ns));
  }
  return seconds;
}

void Bench::wait(const Placed& at) {
  Device& device = *at.station->device;
  if (!device.synchronize(at.lane->end, Deadline::after_ns(wait_ns_))) {
    too_late("a transfer did not end", device);
  }
}

void Bench::check_gate() const {
  std::atomic_ref late(gate_report_->late);
  if (late.load(std::memory_order_relaxed) != 0) {
    fail(ErrorCode::collective_timeout, "the host took more than ", kGateTimeoutNs / 1'000'000'000,
         " s to enqueue a sample: its time means nothing");
  }
}

}  // namespace weft::topology
