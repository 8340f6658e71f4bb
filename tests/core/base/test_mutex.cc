// Locks and waits do what the standard's do. That Clang checks their rules: tests/lint/locks.py.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/base/mutex.h"

namespace weft {
namespace {

constexpr std::int64_t kLong = 20'000'000'000;  // ns

struct Counter {
  Mutex mutex;
  CondVar changed;
  int value WEFT_THREAD_SAFETY(guarded_by(mutex)) = 0;
};

TEST_CASE("a lock keeps others out, until it is released or the scope ends") {
  Counter counter;
  std::atomic<bool> inside{false};
  std::thread other;
  {
    MutexLock lock(counter.mutex);
    other = std::thread([&] {
      const MutexLock theirs(counter.mutex);
      inside = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(!inside);
    lock.unlock();
    other.join();  // would hang if the lock were still held
    CHECK(inside);
  }
  const MutexLock again(counter.mutex);  // would hang if unlock() had not told the destructor
}

TEST_CASE("an unlocked scope lets others in, and is over when the lock is back") {
  Counter counter;
  const MutexLock lock(counter.mutex);
  {
    const MutexUnlock unlocked(counter.mutex);
    std::thread([&] {
      const MutexLock theirs(counter.mutex);
      counter.value = 7;
    }).join();
  }
  CHECK(counter.value == 7);
  try {
    const MutexUnlock unlocked(counter.mutex);
    throw 1;
  } catch (int) {
    counter.value = 8;  // held again
  }
  CHECK(counter.value == 8);
}

TEST_CASE("a wait lets go of the lock and ends when told, or at its deadline") {
  Counter counter;
  std::thread other([&] {
    const MutexLock lock(counter.mutex);
    counter.value = 1;
    counter.changed.notify_all();
  });
  {
    const MutexLock lock(counter.mutex);
    const Deadline deadline = Deadline::after_ns(kLong);
    while (counter.value == 0 && !deadline.passed()) {
      counter.changed.wait_until(counter.mutex, deadline);
    }
    CHECK(counter.value == 1);
    CHECK(!deadline.passed());
    const std::int64_t start = now_ns();
    const Deadline soon = Deadline::after_ns(20'000'000);
    while (!soon.passed()) counter.changed.wait_until(counter.mutex, soon);
    CHECK(now_ns() - start >= 20'000'000);
  }
  other.join();
}

TEST_CASE("a wait without a deadline ends when told") {
  Counter counter;
  for (const bool never : {true, false}) {
    std::thread other([&] {
      const MutexLock lock(counter.mutex);
      ++counter.value;
      counter.changed.notify_one();
    });
    {
      const MutexLock lock(counter.mutex);
      const int before = never ? 0 : 1;
      while (counter.value == before) {
        never ? counter.changed.wait_until(counter.mutex, Deadline::never())
              : counter.changed.wait(counter.mutex);
      }
      CHECK(counter.value == before + 1);
    }
    other.join();
  }
}

TEST_CASE("readers share, a writer does not") {
  SharedMutex mutex;
  std::atomic<bool> written{false};
  std::thread writer;
  {
    const ReadLock one(mutex);
    std::thread([&] { const ReadLock two(mutex); }).join();  // would hang if they excluded
    writer = std::thread([&] {
      const WriteLock lock(mutex);
      written = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(!written);
  }
  writer.join();
  CHECK(written);
}

TEST_SUITE("stress") {
  TEST_CASE("threads that count under one lock lose nothing") {
    Counter counter;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) {
          const MutexLock lock(counter.mutex);
          ++counter.value;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    const MutexLock lock(counter.mutex);
    CHECK(counter.value == 4000);
  }
}

}  // namespace
}  // namespace weft
