// Where ranks that call one at a time, each from its own thread, meet.
//
// Invariants
//   1. Ranks meet in rounds; a rank is in at most one round at a time. A second call of a rank that
//      is still waiting is refused (InvalidArgument).
//   2. The last rank to arrive runs the launch for all, and every rank gets its result or its
//      error.
//   3. A round whose deadline passes ends for every rank with the same CollectiveTimeout, naming
//      the ranks that had not come; nothing was launched. fail() ends it with any other error.
//   4. Ranks that come for different operations all get InvalidArgument.
//   5. What one rank is refused for, all ranks are: those that wait, at once, and the others when
//      they come. Nobody waits for a rank that was refused, and neither does it for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/function_ref.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace weft::fabric {

class Operation;

class Rendezvous {
 public:
  // Called with every rank's descriptor, in rank order, and no lock held.
  using Launch = FunctionRef<std::shared_ptr<Operation>(const std::vector<const void*>&)>;

  // What one rank brings.
  struct Arrival {
    Rank rank{};
    const char* what = "";             // the operation's name; a literal
    const void* descriptor = nullptr;  // not null; must live until meet() returns
    Deadline deadline = Deadline::never();
  };

  // What a meeting asks of its owner. All are called from the meeting thread; `check_usable` and
  // `timed_out` with the lock held, so they must not come back here.
  struct Hooks {
    FunctionRef<void()> check_usable;           // throws where no rank may wait
    FunctionRef<void(const Error&)> timed_out;  // before any rank hears of it
    // Asked now and then, without the lock; whether the last rank launches.
    FunctionRef<bool(bool)> interrupted;
  };

  explicit Rendezvous(WorldSize world)
      : descriptors_(static_cast<std::size_t>(world.value())),
        whats_(static_cast<std::size_t>(world.value())),
        owed_(static_cast<std::size_t>(world.value())) {}

  // Blocks until all ranks came or the deadline passed.
  std::shared_ptr<Operation> meet(const Arrival& arrival, const Hooks& hooks, const Launch& launch);
  // Instead of meet(), for a rank that cannot take part: its round ends with that error. Does
  // nothing unless `is_usable`, which is called with the lock held.
  void refuse(Rank rank, const Error& refusal, const FunctionRef<bool()>& is_usable);
  // Ends the current round, if one is open, with that error, and all that refusals left behind.
  void fail(const Error& error);

 private:
  // Guarded by mutex_ while it is open.
  struct Round {
    bool finished = false;
    std::shared_ptr<Operation> operation;
    std::optional<Error> error;
  };

  std::vector<int> missing() const WEFT_THREAD_SAFETY(requires_capability(mutex_));
  bool is_here(std::size_t rank) const WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void throw_owed(Rank rank) WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void forget_owed() WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void wait_for_launch(const Arrival& arrival) WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void enter(const Arrival& arrival) WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void launch_round(const Launch& launch) WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void wait_for_others(const Round& round, const Arrival& arrival, const Hooks& hooks)
      WEFT_THREAD_SAFETY(requires_capability(mutex_));
  std::optional<Error> disagreement() const WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void finish(std::shared_ptr<Operation> operation, std::optional<Error> error)
      WEFT_THREAD_SAFETY(requires_capability(mutex_));

  Mutex mutex_;
  CondVar changed_;
  // Of the open round: by rank, null where it is not there yet.
  std::vector<const void*> descriptors_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::vector<const char*> whats_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  int arrived_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  // By rank: what rounds that it has yet to come to have ended with.
  std::vector<std::deque<Error>> owed_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  // The last rank launches, without the lock; nobody enters meanwhile.
  bool launching_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = false;
  std::shared_ptr<Round> round_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = std::make_shared<Round>();
};

}  // namespace weft::fabric
