#include "fabric/signal.h"

#include "core/device/sim/scheduler.h"

namespace weft::fabric {
namespace {

constexpr int kEagerPolls = 64;  // before the processor is given away

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

bool Waiter::poll(std::uint32_t& word, Epoch goal, std::uint32_t& seen) {
  std::atomic_ref ref(word);
  seen = ref.load(std::memory_order_relaxed);
  if (!Epoch(seen).reached(goal)) return false;
  // sync(signal): acquire - sees what was published; pairs with release in publish
  (void)ref.load(std::memory_order_acquire);
  return true;
}

bool Waiter::aborted() const {
  return std::atomic_ref(*limits_.abort_flag).load(std::memory_order_relaxed) != 0;
}

void Waiter::give_up(Outcome outcome, const Goal& goal, std::uint32_t seen) {
  if (left()) return;
  record_->awaited = goal.awaited;
  record_->rank = self_.value();
  record_->step = goal.step.value();
  record_->peer = goal.peer.value();
  record_->expected = goal.count;
  record_->seen = seen - goal.base.value();
  record_->operation = limits_.operation;
  // sync(fault): release - publishes the record; pairs with acquire in outcome_of
  std::atomic_ref(record_->outcome).store(outcome, std::memory_order_release);
}

bool Waiter::wait(std::uint32_t& word, const Goal& goal) {
  if (active_mutant() == Mutant::skipped_wait && goal.awaited == Awaited::data) return true;
  if (active_mutant() == Mutant::early_slot_reuse && goal.awaited == Awaited::credit) return true;
  const Epoch target = goal.base + goal.count;
  std::uint32_t seen = 0;
  for (int polls = 0; polls < kEagerPolls; ++polls) {
    if (poll(word, target, seen)) return true;
    pause_briefly();
  }
  if (deadline_ns_ == 0) deadline_ns_ = now_ns() + limits_.timeout_ns;
  SimScheduler::Wait wait;
  while (!poll(word, target, seen)) {
    if (aborted()) {
      give_up(Outcome::aborted, goal, seen);
      return false;
    }
    if (now_ns() >= deadline_ns_) {
      give_up(Outcome::timeout, goal, seen);
      std::atomic_ref(*limits_.abort_flag).store(1, std::memory_order_relaxed);
      return false;
    }
    wait.yield();
  }
  return true;
}

bool Waiter::may_go_on(Step step) {
  if (!aborted()) return true;
  leave(Outcome::aborted, step);
  return false;
}

void Waiter::leave(Outcome outcome, Step step) {
  Goal nowhere;
  nowhere.peer = Rank(-1);
  nowhere.step = step;
  give_up(outcome, nowhere, 0);
}

}  // namespace weft::fabric
