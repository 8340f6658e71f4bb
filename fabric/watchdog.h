// Looks after operations that nobody waits for: decides each soon after it ended, so that a fault
// poisons the fabric, and events and statistics are complete, without anyone asking.
//
// Invariants
//   1. The thread starts with the first watch() or keep_looking() and ends with the watchdog;
//      between operations it sleeps, and for longer than kLongestSleep if it has nothing to look
//      at. Where the system has no room for a thread, the next of these calls tries again: what
//      was launched cannot be refused any more, and its faults come to light at the next call of
//      the fabric.
//   2. It holds an operation only until that has been decided. It calls no user code.
//
// Thread safety: watch() from any thread. Every wait of the thread is for at most kLongestSleep.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "core/base/mutex.h"

namespace weft::fabric {

class Operation;

class Watchdog {
 public:
  Watchdog() = default;
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void watch(std::shared_ptr<Operation> operation);
  // From now on `look` is called again and again, at most kLongestSleep after it returned. The
  // first that is given stays.
  void keep_looking(std::function<void()> look);
  // Lets go of everything and joins the thread, for good: a later watch() does nothing.
  void stop();

 private:
  void start() WEFT_THREAD_SAFETY(requires_capability(mutex_));
  void run();

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<Operation>> watched_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::function<void()> look_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  bool stopping_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = false;
  std::thread thread_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft::fabric
