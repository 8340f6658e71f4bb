// Where ranks that call one at a time, each from its own thread, meet.
//
// Invariants
//   1. Ranks meet in rounds; a rank is in at most one round at a time. A second call of a rank that
//      is still waiting is refused (InvalidArgument).
//   2. The last rank to arrive runs the launch for all, and every rank gets its result or its
//      error.
//   3. A round whose deadline passes ends for every rank with the same CollectiveTimeout, naming
//      the ranks that had not come; nothing was launched. abort() ends it with CollectiveAborted.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/function_ref.h"
#include "core/base/types.h"

namespace weft::fabric {

class Operation;

class Rendezvous {
 public:
  // Called with every rank's descriptor, in rank order.
  using Launch = FunctionRef<std::shared_ptr<Operation>(const std::vector<const void*>&)>;

  explicit Rendezvous(WorldSize world) : descriptors_(static_cast<std::size_t>(world.value())) {}

  // Blocks until all ranks came or the deadline passed. `descriptor` must live until it returns.
  std::shared_ptr<Operation> meet(Rank rank, const char* what, const void* descriptor,
                                  Deadline deadline, const Launch& launch);
  // Ends the current round, if one is open, with that error.
  void fail(const Error& error);

 private:
  struct Round {
    bool finished = false;
    std::shared_ptr<Operation> operation;
    std::optional<Error> error;
  };
  // All of these with mutex_ held.
  std::vector<int> missing() const;
  void launch_round(const Launch& launch);
  void wait_for_others(std::unique_lock<std::mutex>& lock, const Round& round, const char* what,
                       Deadline deadline);
  void finish(std::shared_ptr<Operation> operation, std::optional<Error> error);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<const void*> descriptors_;  // of the open round; null: not there yet
  int arrived_ = 0;
  std::shared_ptr<Round> round_ = std::make_shared<Round>();
};

}  // namespace weft::fabric
