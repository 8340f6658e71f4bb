// Locks whose rules Clang checks: which data a mutex guards, and which functions need it held.
//
//   Mutex mutex_;
//   int count_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
//   void grow() WEFT_THREAD_SAFETY(requires_capability(mutex_));
//
// Invariants
//   1. They do what std::mutex, std::shared_mutex and std::condition_variable do, and cost the
//   same.
//   2. A wait takes no predicate: a loop around it does, where Clang sees which lock is held.
//
// The attribute's argument is one of Clang's thread-safety attributes; other compilers see nothing.
// `make locks` compiles everything with the analysis on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

#include "core/base/clock.h"

#if defined(__clang__)
#define WEFT_THREAD_SAFETY(attribute) __attribute__((attribute))
#else
#define WEFT_THREAD_SAFETY(attribute)
#endif

namespace weft {

class WEFT_THREAD_SAFETY(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() WEFT_THREAD_SAFETY(acquire_capability()) { native_.lock(); }
  bool try_lock() WEFT_THREAD_SAFETY(try_acquire_capability(true)) { return native_.try_lock(); }
  void unlock() WEFT_THREAD_SAFETY(release_capability()) { native_.unlock(); }

 private:
  friend class CondVar;
  std::mutex native_;
};

// Many readers or one writer.
class WEFT_THREAD_SAFETY(capability("mutex")) SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  void lock() WEFT_THREAD_SAFETY(acquire_capability()) { native_.lock(); }
  void unlock() WEFT_THREAD_SAFETY(release_capability()) { native_.unlock(); }
  void lock_shared() WEFT_THREAD_SAFETY(acquire_shared_capability()) { native_.lock_shared(); }
  void unlock_shared() WEFT_THREAD_SAFETY(release_shared_capability()) { native_.unlock_shared(); }

 private:
  std::shared_mutex native_;
};

// Holds a mutex from here to the end of the scope, or to unlock().
class WEFT_THREAD_SAFETY(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) WEFT_THREAD_SAFETY(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() WEFT_THREAD_SAFETY(release_capability()) {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() WEFT_THREAD_SAFETY(release_capability()) {
    held_ = false;
    mutex_.unlock();
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

// The other way round: lets go of a held mutex, and takes it again at the end of the scope.
class WEFT_THREAD_SAFETY(scoped_lockable) MutexUnlock {
 public:
  explicit MutexUnlock(Mutex& mutex) WEFT_THREAD_SAFETY(release_capability(mutex)) : mutex_(mutex) {
    mutex_.unlock();
  }
  ~MutexUnlock() WEFT_THREAD_SAFETY(release_capability()) { mutex_.lock(); }
  MutexUnlock(const MutexUnlock&) = delete;
  MutexUnlock& operator=(const MutexUnlock&) = delete;

 private:
  Mutex& mutex_;
};

class WEFT_THREAD_SAFETY(scoped_lockable) WriteLock {
 public:
  explicit WriteLock(SharedMutex& mutex) WEFT_THREAD_SAFETY(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  ~WriteLock() WEFT_THREAD_SAFETY(release_capability()) { mutex_.unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class WEFT_THREAD_SAFETY(scoped_lockable) ReadLock {
 public:
  explicit ReadLock(SharedMutex& mutex) WEFT_THREAD_SAFETY(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~ReadLock() WEFT_THREAD_SAFETY(release_capability()) { mutex_.unlock_shared(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Waiting for what another thread does under the same mutex. Wakes up without cause now and then.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  // Only for a thread that has nothing else to do until it is told.
  void wait(Mutex& mutex) WEFT_THREAD_SAFETY(requires_capability(mutex)) {
    Borrowed lock(mutex.native_);
    changed_.wait(lock.held);
  }
  // Returns at the deadline at the latest; it is the caller's to look whether it has passed.
  void wait_until(Mutex& mutex, Deadline deadline) WEFT_THREAD_SAFETY(requires_capability(mutex)) {
    Borrowed lock(mutex.native_);
    if (deadline.at_ns() == INT64_MAX) return changed_.wait(lock.held);
    const std::chrono::nanoseconds at(deadline.at_ns());
    changed_.wait_until(lock.held, std::chrono::steady_clock::time_point(at));
  }
  void notify_one() noexcept { changed_.notify_one(); }
  void notify_all() noexcept { changed_.notify_all(); }

 private:
  // The caller's lock in the form that the standard asks for; it stays the caller's.
  struct Borrowed {
    explicit Borrowed(std::mutex& mutex) : held(mutex, std::adopt_lock) {}
    ~Borrowed() { held.release(); }
    std::unique_lock<std::mutex> held;
  };
  std::condition_variable changed_;
};

}  // namespace weft
