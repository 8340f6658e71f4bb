#include "fabric/rendezvous.h"

#include <algorithm>

namespace weft::fabric {

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

std::shared_ptr<Operation> Rendezvous::meet(Rank rank, const char* what, const void* descriptor,
                                            Deadline deadline, const Launch& launch) {
  std::unique_lock lock(mutex_);
  const void*& place = descriptors_[static_cast<std::size_t>(rank.value())];
  if (place) {
    throw Error(ErrorCode::invalid_argument,
                concat(what, ": rank ", rank, " is already waiting in another call"),
                {.rank = rank.value()});
  }
  place = descriptor;
  ++arrived_;
  const std::shared_ptr<Round> round = round_;
  if (arrived_ == static_cast<int>(descriptors_.size())) {
    launch_round(launch);
  } else {
    wait_for_others(lock, *round, what, deadline);
  }
  if (round->error) throw *round->error;
  return round->operation;
}

void Rendezvous::launch_round(const Launch& launch) {
  try {
    finish(launch(descriptors_), std::nullopt);
  } catch (const Error& error) {
    finish(nullptr, error);
  } catch (const std::exception& error) {
    finish(nullptr, Error(ErrorCode::internal, error.what()));
  }
}

void Rendezvous::wait_for_others(std::unique_lock<std::mutex>& lock, const Round& round,
                                 const char* what, Deadline deadline) {
  const auto at = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline.at_ns()));
  if (changed_.wait_until(lock, at, [&] { return round.finished; })) return;
  std::vector<int> absent = missing();
  std::string list;
  for (const int r : absent) list += concat(list.empty() ? "" : ", ", r);
  finish(nullptr,
         Error(ErrorCode::collective_timeout,
               concat(what, ": rank(s) ", list, " did not arrive in time; nothing was launched"),
               {.culprits = std::move(absent)}));
}

void Rendezvous::fail(const Error& error) {
  const std::scoped_lock lock(mutex_);
  if (arrived_ > 0) finish(nullptr, error);
}

}  // namespace weft::fabric
