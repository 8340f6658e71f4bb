#include "core/device/sim/scheduler.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/mutex.h"

namespace weft {
namespace {

constexpr std::int64_t kPatience = 1'000'000;  // ns
constexpr timespec kNap{0, 50'000};

struct State {
  Mutex mutex;
  CondVar changed;
  // One mark a work that has begun.
  std::vector<const void*> runnable WEFT_THREAD_SAFETY(guarded_by(mutex));
  const void* running WEFT_THREAD_SAFETY(guarded_by(mutex)) = nullptr;
  std::uint64_t random WEFT_THREAD_SAFETY(guarded_by(mutex)) = 0;
};

State& state() {
  static State& instance = *new State();
  return instance;
}

std::atomic<std::uint64_t>& seed_word() {
  static std::atomic<std::uint64_t> seed{static_cast<std::uint64_t>(config().sim_seed)};
  return seed;
}

// Marks this thread's running work; its address is the work's identity.
thread_local char mark = 0;

// splitmix64 (Steele, Lea, Flood 2014).
std::uint64_t next_random(std::uint64_t& x) {
  std::uint64_t z = (x += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void draw_next(State& s) WEFT_THREAD_SAFETY(requires_capability(s.mutex)) {
  s.running = s.runnable.empty() ? nullptr : s.runnable[next_random(s.random) % s.runnable.size()];
  s.changed.notify_all();
}

void wait_for_turn(State& s) WEFT_THREAD_SAFETY(requires_capability(s.mutex)) {
  while (s.running != &mark) s.changed.wait(s.mutex);
}

bool seeded() { return seed_word().load(std::memory_order_relaxed) != 0; }

}  // namespace

void SimScheduler::seed(std::uint64_t seed) {
  State& s = state();
  const MutexLock lock(s.mutex);
  s.random = seed;
  seed_word().store(seed, std::memory_order_relaxed);
}

void SimScheduler::yield_point() {
  if (!seeded()) return;
  State& s = state();
  const MutexLock lock(s.mutex);
  if (s.running != &mark) return;
  draw_next(s);
  wait_for_turn(s);
}

void SimScheduler::Wait::yield() {
  if (seeded()) return yield_point();
  const std::int64_t now = now_ns();
  if (begun_ns_ == 0) begun_ns_ = now;
  if (now - begun_ns_ < kPatience) {
    sched_yield();
  } else {
    nanosleep(&kNap, nullptr);
  }
}

SimScheduler::Turn::Turn() : seeded_(seeded()) {
  if (!seeded_) return;
  State& s = state();
  const MutexLock lock(s.mutex);
  s.runnable.push_back(&mark);
  if (!s.running) draw_next(s);
  wait_for_turn(s);
}

SimScheduler::Turn::~Turn() {
  if (!seeded_) return;
  State& s = state();
  const MutexLock lock(s.mutex);
  s.runnable.erase(std::find(s.runnable.begin(), s.runnable.end(), &mark));
  draw_next(s);
}

}  // namespace weft
