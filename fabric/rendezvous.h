// Where ranks that call one at a time, each from its own thread, meet.
//
// Invariants
//   1. Ranks meet in rounds; a rank is in at most one round at a time. A second call of a rank that
//      is still waiting is refused (InvalidArgument).
//   2. The last rank to arrive runs the launch for all, and every rank gets its result or its
//      error.
//   3. A round whose deadline passes ends for every rank with the same CollectiveTimeout, naming
//      the ranks that had not come; nothing was launched. fail() ends it with any other error.
//   4. Ranks that come for different operations all get InvalidArgument, and what one rank is
//      refused for, all ranks are.
#pragma once

#include <cstdint>
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
    const Error* refusal = nullptr;  // why this rank cannot take part: all ranks get it
  };

  // What a meeting asks of its owner. All are called from the meeting thread; `check_usable` and
  // `timed_out` with the lock held, so they must not come back here.
  struct Hooks {
    FunctionRef<void()> check_usable;           // throws where no rank may wait
    FunctionRef<void(const Error&)> timed_out;  // before any rank hears of it
    FunctionRef<bool()> interrupted;            // asked now and then, without the lock
  };

  explicit Rendezvous(WorldSize world)
      : descriptors_(static_cast<std::size_t>(world.value())),
        whats_(static_cast<std::size_t>(world.value())) {}

  // Blocks until all ranks came or the deadline passed.
  std::shared_ptr<Operation> meet(const Arrival& arrival, const Hooks& hooks, const Launch& launch);
  // Ends the current round, if one is open, with that error.
  void fail(const Error& error);

 private:
  // Guarded by mutex_ while it is open.
  struct Round {
    bool finished = false;
    std::shared_ptr<Operation> operation;
    std::optional<Error> error;
  };

  std::vector<int> missing() const WEFT_THREAD_SAFETY(requires_capability(mutex_));
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
  // Of the open round: by rank, null where it is not there yet; the first refusal.
  std::vector<const void*> descriptors_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::vector<const char*> whats_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  int arrived_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  std::optional<Error> refusal_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  // The last rank launches, without the lock; nobody enters meanwhile.
  bool launching_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = false;
  std::shared_ptr<Round> round_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = std::make_shared<Round>();
};

}  // namespace weft::fabric
