#include "fabric/rendezvous.h"

#include <algorithm>
#include <string_view>

namespace weft::fabric {
namespace {

constexpr std::int64_t kInterruptInterval = 50'000'000;  // ns between two looks for Ctrl-C
constexpr std::size_t kMostOwed = 256;                   // refusals; what is beyond is forgotten

}  // namespace

std::vector<int> Rendezvous::missing() const {
  std::vector<int> ranks;
  for (std::size_t r = 0; r < descriptors_.size(); ++r) {
    if (!descriptors_[r]) ranks.push_back(static_cast<int>(r));
  }
  return ranks;
}

void Rendezvous::finish(std::shared_ptr<Operation> operation, std::optional<Error> error) {
  round_->finished = true;
  round_->operation = std::move(operation);
  round_->error = std::move(error);
  round_ = std::make_shared<Round>();
  std::fill(descriptors_.begin(), descriptors_.end(), nullptr);
  arrived_ = 0;
  changed_.notify_all();
}

std::shared_ptr<Operation> Rendezvous::meet(const Arrival& arrival, const Hooks& hooks,
                                            const Launch& launch) {
  const MutexLock lock(mutex_);
  wait_for_launch(arrival);
  hooks.check_usable();
  throw_owed(arrival.rank);
  enter(arrival);
  const std::shared_ptr<Round> round = round_;
  if (arrived_ == static_cast<int>(descriptors_.size())) {
    launch_round(launch);
  } else {
    wait_for_others(*round, arrival, hooks);
  }
  if (round->error) throw *round->error;
  return round->operation;
}

// The round before this one may still be in its launch.
void Rendezvous::wait_for_launch(const Arrival& arrival) {
  while (launching_) {
    if (arrival.deadline.passed()) {
      throw Error(ErrorCode::collective_timeout,
                  concat(arrival.what, ": the operation before it has not been launched in time"),
                  {.rank = arrival.rank.value()});
    }
    changed_.wait_until(mutex_, arrival.deadline);
  }
}

void Rendezvous::enter(const Arrival& arrival) {
  const auto index = static_cast<std::size_t>(arrival.rank.value());
  if (descriptors_[index]) {
    throw Error(
        ErrorCode::invalid_argument,
        concat(arrival.what, ": rank ", arrival.rank, " is already waiting in another call"),
        {.rank = arrival.rank.value()});
  }
  descriptors_[index] = arrival.descriptor;
  whats_[index] = arrival.what;
  ++arrived_;
}

// Ranks in a launch that is under way have yet to come to the round after it.
bool Rendezvous::is_here(std::size_t rank) const { return !launching_ && descriptors_[rank]; }

void Rendezvous::throw_owed(Rank rank) {
  std::deque<Error>& owed = owed_[static_cast<std::size_t>(rank.value())];
  if (owed.empty()) return;
  const Error error = std::move(owed.front());
  owed.pop_front();
  throw error;
}

void Rendezvous::forget_owed() {
  for (std::deque<Error>& owed : owed_) owed.clear();
}

void Rendezvous::refuse(Rank rank, const Error& refusal, const FunctionRef<bool()>& is_usable) {
  const auto index = static_cast<std::size_t>(rank.value());
  const MutexLock lock(mutex_);
  if (!is_usable()) return;
  if (is_here(index)) return;  // another of its calls waits: this one is of no round
  if (!owed_[index].empty()) {
    owed_[index].pop_front();  // the round has ended, by another rank's refusal
    return;
  }
  for (std::size_t r = 0; r < owed_.size(); ++r) {
    if (r != index && !is_here(r) && owed_[r].size() < kMostOwed) owed_[r].push_back(refusal);
  }
  if (!launching_ && arrived_ > 0) finish(nullptr, refusal);
}

std::optional<Error> Rendezvous::disagreement() const {
  for (std::size_t r = 1; r < whats_.size(); ++r) {
    if (std::string_view(whats_[r]) == whats_[0]) continue;
    return Error(ErrorCode::invalid_argument,
                 concat("rank ", r, " calls ", whats_[r], ", rank 0 calls ", whats_[0]),
                 {.rank = static_cast<int>(r)});
  }
  return std::nullopt;
}

void Rendezvous::launch_round(const Launch& launch) {
  std::optional<Error> error = disagreement();
  std::shared_ptr<Operation> operation;
  if (!error) {
    launching_ = true;
    // Nobody enters, and so nobody changes them, until launching_ is false again.
    const std::vector<const void*>* const descriptors = &descriptors_;
    try {
      const MutexUnlock unlocked(mutex_);
      operation = launch(*descriptors);
    } catch (...) {
      error = current_error();
    }
    launching_ = false;
  }
  finish(std::move(operation), std::move(error));
}

void Rendezvous::wait_for_others(const Round& round, const Arrival& arrival, const Hooks& hooks) {
  while (true) {
    // Once the last rank launches, it ends the round, whatever the deadline.
    const std::int64_t left = launching_ ? kInterruptInterval : arrival.deadline.left_ns();
    const Deadline slice = Deadline::after_ns(std::min(kInterruptInterval, left));
    while (!round.finished && !slice.passed()) changed_.wait_until(mutex_, slice);
    if (round.finished) return;
    const bool launching = launching_;
    bool interrupted;
    {
      const MutexUnlock unlocked(mutex_);
      interrupted = hooks.interrupted(launching);
    }
    if (round.finished) return;
    if (launching_) continue;
    if (interrupted) {
      return finish(nullptr, Error(ErrorCode::collective_aborted,
                                   concat(arrival.what, ": rank ", arrival.rank,
                                          " was interrupted while waiting for the others")));
    }
    if (arrival.deadline.passed()) break;
  }
  std::vector<int> absent = missing();
  std::string list;
  for (const int r : absent) list += concat(list.empty() ? "" : ", ", r);
  const Error error(
      ErrorCode::collective_timeout,
      concat(arrival.what, ": rank(s) ", list, " did not arrive in time; nothing was launched"),
      {.culprits = std::move(absent)});
  hooks.timed_out(error);
  forget_owed();
  finish(nullptr, error);
}

void Rendezvous::fail(const Error& error) {
  const MutexLock lock(mutex_);
  forget_owed();
  if (arrived_ > 0 && !launching_) finish(nullptr, error);
}

}  // namespace weft::fabric
