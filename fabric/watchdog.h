// Looks after operations that nobody waits for: decides each soon after it ended, so that a fault
// poisons the fabric, and events and statistics are complete, without anyone asking.
//
// Invariants
//   1. The thread starts with the first watch() and ends with the watchdog; between operations it
//      sleeps.
//   2. It holds an operation only until that has been decided. It calls no user code.
//
// Thread safety: watch() from any thread. Every wait of the thread is for at most kLongestSleep.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace weft::fabric {

class Operation;

class Watchdog {
 public:
  Watchdog() = default;
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void watch(std::shared_ptr<Operation> operation);
  // Lets go of everything and joins the thread, for good: a later watch() does nothing.
  void stop();
  // In the child of a fork(): there is no thread to join.
  void forget() noexcept;

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Operation>> watched_;
  bool stopping_ = false;
  std::thread thread_;
  bool forgotten_ = false;
};

}  // namespace weft::fabric
