#include "tests/soak/fault_trial.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

#include "core/base/error.h"

namespace weft::testing {
namespace {

using collectives::FaultPoint;
using schedule::Target;

constexpr std::int64_t kLongDelay = 20'000'000'000;  // ns; it ends with the operation
constexpr int kLatestAbort = 2000;                   // us after the launch

struct Point {
  int rank = 0;
  int step = 0;
};

// Where a rank may stop so that others miss it: it has yet to signal, or to free a slot.
std::vector<Point> missed_points(const schedule::Schedule& schedule, bool meets_at_end) {
  std::vector<Point> points;
  for (std::size_t rank = 0; rank < schedule.programs.size(); ++rank) {
    const schedule::Program& program = schedule.programs[rank];
    bool missed = meets_at_end;
    for (std::size_t i = program.size(); i-- > 0;) {
      const schedule::Step& step = program[i];
      missed = missed || step.target != Target::none || step.reads_slot() || step.reads_slots();
      if (missed) points.push_back({static_cast<int>(rank), static_cast<int>(i)});
    }
  }
  return points;
}

bool uses_slots(const schedule::Schedule& schedule) {
  return std::any_of(schedule.programs.begin(), schedule.programs.end(), [](const auto& program) {
    return std::any_of(program.begin(), program.end(),
                       [](const schedule::Step& step) { return step.target == Target::slot; });
  });
}

class Trial {
 public:
  Trial(FaultyFabric& faulty, FaultKind kind, std::uint64_t seed, std::int64_t timeout_ns)
      : faulty_(faulty),
        fabric_(faulty.fabric()),
        kind_(kind),
        timeout_ns_(timeout_ns),
        draws_(seed) {}

  TrialResult run() {
    draw();
    call_->fill(draws_.next());
    provoke();
    check_error();
    recover();
    check_next();
    return std::move(result_);
  }

 private:
  void draw() {
    while (true) {
      faulty_.board().clear();
      call_.emplace(fabric_, faulty_.board(), draws_);
      if (call_->elements() == 0) continue;
      const schedule::Schedule& schedule = call_->schedule(fabric_);
      const bool meets =
          uses_slots(schedule) && call_->collective() != collectives::Collective::all_reduce;
      const std::vector<Point> points = missed_points(schedule, meets);
      if (points.empty()) continue;
      point_ = draws_.from(points);
      return;
    }
  }

  void provoke() {
    const int rank = point_.rank;
    FaultDevice& device = faulty_.device(rank);
    switch (kind_) {
      case FaultKind::stopped:
        return in_mid_schedule({FaultPoint::Action::stop, rank, point_.step, 0});
      case FaultKind::delayed:
        return in_mid_schedule({FaultPoint::Action::delay, rank, point_.step, kLongDelay});
      case FaultKind::absent:
        return without_a_rank();
      case FaultKind::aborted:
        return aborted();
      case FaultKind::submit_fails:
        device.plan(DeviceCall::submit, 1, {ErrorCode::cuda_error, 0});
        return failing(ErrorCode::cuda_error);
      case FaultKind::record_fails:
        device.plan(DeviceCall::record, 1, {ErrorCode::cuda_error, 0});
        return failing(ErrorCode::cuda_error);
      case FaultKind::out_of_memory:
        device.plan(DeviceCall::submit, 1, {std::nullopt, 0, true});
        return failing(ErrorCode::out_of_memory);
      case FaultKind::device_lost:
        device.plan(DeviceCall::synchronize, 1, {ErrorCode::device_lost, 0});
        return failing(ErrorCode::device_lost);
    }
  }

  void in_mid_schedule(const FaultPoint& fault) {
    expected_ = ErrorCode::collective_timeout;
    culprits_ = {fault.rank};
    collectives::plan_fault(fabric_, fault);
    const std::int64_t start = now_ns();
    call_and_wait();
    late_since(start + timeout_ns_);
    collectives::plan_fault(fabric_, {});
  }

  void without_a_rank() {
    expected_ = ErrorCode::collective_timeout;
    culprits_ = {point_.rank};
    const auto world = static_cast<std::size_t>(fabric_.world().value());
    std::vector<std::optional<Error>> errors(world);
    std::vector<std::thread> ranks;
    const std::int64_t start = now_ns();
    for (std::size_t r = 0; r < world; ++r) {
      if (r == static_cast<std::size_t>(point_.rank)) continue;
      ranks.emplace_back([this, r, &errors] {
        try {
          call_->launch(fabric_, Rank(static_cast<int>(r)), timeout_ns_);
        } catch (const Error& error) {
          errors[r] = error;
        }
      });
    }
    for (std::thread& rank : ranks) rank.join();
    late_since(start + timeout_ns_);
    for (std::size_t r = 0; r < world; ++r) {
      if (r == static_cast<std::size_t>(point_.rank)) continue;
      error_ = errors[r];
      if (r + 1 < world) check_error();  // the last one's is checked by run()
    }
  }

  void aborted() {
    expected_ = ErrorCode::collective_aborted;
    collectives::plan_fault(fabric_, {FaultPoint::Action::stop, point_.rank, point_.step, 0});
    std::int64_t start = 0;
    std::thread aborter;
    try {
      const auto operation = call_->launch(fabric_);
      const std::chrono::microseconds pause(draws_.below(kLatestAbort));
      aborter = std::thread([&] {
        std::this_thread::sleep_for(pause);
        start = now_ns();
        fabric_.abort("a trial");
      });
      operation->wait_until(soon());
      error_ = operation->error();
    } catch (const Error& error) {
      error_ = error;
    }
    const std::int64_t end = now_ns();
    if (aborter.joinable()) aborter.join();
    result_.late_ms = static_cast<double>(end - start) * 1e-6;
    collectives::plan_fault(fabric_, {});
  }

  void failing(ErrorCode code) {
    expected_ = code;
    culprits_ = {point_.rank};
    const std::int64_t start = now_ns();
    call_and_wait();
    late_since(start);
  }

  void call_and_wait() {
    try {
      const auto operation = call_->launch(fabric_, timeout_ns_);
      if (!operation->wait_until(soon())) return problem("the operation did not end");
      error_ = operation->error();
    } catch (const Error& error) {
      error_ = error;
    }
  }

  void late_since(std::int64_t due) {
    result_.late_ms = std::max(0.0, static_cast<double>(now_ns() - due) * 1e-6);
  }

  void check_error() {
    if (!error_) return problem("there was no error");
    if (error_->code() != expected_) return problem(concat("another error: ", error_->what()));
    if (error_->context().culprits != culprits_) {
      return problem(concat("another culprit: ", error_->what()));
    }
  }

  void recover() {
    try {
      fabric_.check_usable();
      problem("the fabric was not poisoned");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::fabric_poisoned) problem(error.what());
    }
    const std::int64_t start = now_ns();
    fabric_.recover();
    result_.recovery_ms = static_cast<double>(now_ns() - start) * 1e-6;
  }

  void check_next() {
    faulty_.board().clear();
    RandomCall next(fabric_, faulty_.board(), draws_);
    next.fill(draws_.next());
    const auto operation = next.launch(fabric_);
    if (!operation->wait_until(soon())) return problem("after recover() nothing ends");
    if (const auto error = operation->error()) return problem(error->what());
    std::string what;
    if (next.wrong(what) + faulty_.board().spoilt() > 0) problem("after recover(): " + what);
  }

  void problem(const std::string& what) {
    if (!result_.problem.empty()) return;
    result_.problem = concat(name(kind_), " at step ", point_.step, " of rank ", point_.rank,
                             " in ", call_->describe(), ": ", what);
  }

  FaultyFabric& faulty_;
  fabric::Fabric& fabric_;
  FaultKind kind_;
  std::int64_t timeout_ns_;
  Draws draws_;
  std::optional<RandomCall> call_;
  Point point_;
  ErrorCode expected_ = ErrorCode::internal;
  std::vector<int> culprits_;
  std::optional<Error> error_;
  TrialResult result_;
};

}  // namespace

const char* name(FaultKind kind) {
  constexpr const char* kNames[] = {"stopped",      "delayed",      "absent",        "aborted",
                                    "submit fails", "record fails", "out of memory", "device lost"};
  return kNames[static_cast<std::size_t>(kind)];
}

FaultyFabric::FaultyFabric(int world) {
  fabric::FabricOptions options = sim_options(world);
  for (Device*& device : options.devices) {
    devices_.push_back(std::make_unique<FaultDevice>(*device));
    device = devices_.back().get();
  }
  fabric_ = collectives::open(std::move(options));
  board_ = std::make_unique<Board>(*fabric_, kBoardBytes);
}

TrialResult try_fault(FaultyFabric& faulty, FaultKind kind, std::uint64_t seed,
                      std::int64_t timeout_ns) {
  return Trial(faulty, kind, seed, timeout_ns).run();
}

}  // namespace weft::testing
