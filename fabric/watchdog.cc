#include "fabric/watchdog.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <system_error>

#include "fabric/operation.h"

namespace weft::fabric {
namespace {

constexpr std::int64_t kShortestSleep = 1'000'000;  // ns
constexpr std::int64_t kLongestSleep = 20'000'000;

}  // namespace

Watchdog::~Watchdog() { stop(); }

void Watchdog::watch(std::shared_ptr<Operation> operation) {
  const MutexLock lock(mutex_);
  if (stopping_) return;
  watched_.push_back(std::move(operation));
  start();
}

void Watchdog::keep_looking(std::function<void()> look) {
  const MutexLock lock(mutex_);
  if (stopping_ || (look_ && thread_.joinable())) return;
  if (!look_) look_ = std::move(look);
  start();
}

void Watchdog::start() {
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      return;
    }
  }
  changed_.notify_one();
}

void Watchdog::stop() {
  std::thread thread;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    watched_.clear();
    thread.swap(thread_);
  }
  changed_.notify_one();
  if (thread.joinable()) thread.join();
}

void Watchdog::run() {
  std::int64_t sleep = kShortestSleep;
  const MutexLock lock(mutex_);
  while (!stopping_) {
    if (watched_.empty() && !look_) {
      while (!stopping_ && watched_.empty() && !look_) changed_.wait(mutex_);
      sleep = kShortestSleep;
      continue;
    }
    changed_.wait_until(mutex_, Deadline::after_ns(sleep));
    sleep = std::min(2 * sleep, kLongestSleep);
    // done() may decide, and deciding takes the fabric's locks: not under this one.
    std::vector<std::shared_ptr<Operation>> looked_at;
    looked_at.swap(watched_);
    const std::function<void()> look = look_;
    {
      const MutexUnlock unlocked(mutex_);
      std::erase_if(looked_at, [](const auto& operation) { return operation->done(); });
      if (look) look();
    }
    std::move(looked_at.begin(), looked_at.end(), std::back_inserter(watched_));
  }
}

}  // namespace weft::fabric
