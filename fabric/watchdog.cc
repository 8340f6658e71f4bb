#include "fabric/watchdog.h"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "fabric/operation.h"

namespace weft::fabric {
namespace {

constexpr std::chrono::milliseconds kShortestSleep{1};
constexpr std::chrono::milliseconds kLongestSleep{20};

}  // namespace

Watchdog::~Watchdog() {
  if (!forgotten_) stop();
}

void Watchdog::forget() noexcept {
  if (thread_.joinable()) thread_.detach();
  forgotten_ = true;
}

void Watchdog::watch(std::shared_ptr<Operation> operation) {
  const std::scoped_lock lock(mutex_);
  if (stopping_) return;
  watched_.push_back(std::move(operation));
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { run(); });
  }
  changed_.notify_one();
}

void Watchdog::stop() {
  std::thread thread;
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    watched_.clear();
    thread.swap(thread_);
  }
  changed_.notify_one();
  if (thread.joinable()) thread.join();
}

void Watchdog::run() {
  auto sleep = kShortestSleep;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (watched_.empty()) {
      changed_.wait(lock, [&] { return stopping_ || !watched_.empty(); });
      sleep = kShortestSleep;
      continue;
    }
    changed_.wait_for(lock, sleep);
    sleep = std::min(2 * sleep, kLongestSleep);
    // done() may decide, and deciding takes the fabric's locks: not under this one.
    std::vector<std::shared_ptr<Operation>> looked_at;
    looked_at.swap(watched_);
    lock.unlock();
    std::erase_if(looked_at, [](const auto& operation) { return operation->done(); });
    lock.lock();
    std::move(looked_at.begin(), looked_at.end(), std::back_inserter(watched_));
  }
}

}  // namespace weft::fabric
