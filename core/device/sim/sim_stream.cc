#include "core/device/sim/sim_stream.h"

#include "core/device/sim/scheduler.h"

namespace weft {

std::uint64_t SimEvent::next_record() {
  const MutexLock lock(mutex_);
  return ++asked_;
}

void SimEvent::happened(std::uint64_t number) {
  const MutexLock lock(mutex_);
  if (number > happened_) {
    happened_ = number;
    happened_ns_ = now_ns();
  }
  changed_.notify_all();
}

std::int64_t SimEvent::happened_ns() const {
  const MutexLock lock(mutex_);
  return happened_ns_;
}

bool SimEvent::done() const {
  const MutexLock lock(mutex_);
  return happened_ >= asked_;
}

bool SimEvent::wait_latest(Deadline deadline) {
  const MutexLock lock(mutex_);
  const std::uint64_t number = asked_;
  while (happened_ < number) {
    if (deadline.passed()) return false;
    changed_.wait_until(mutex_, deadline);
  }
  return true;
}

bool SimEvent::reached(std::uint64_t number) const {
  const MutexLock lock(mutex_);
  return happened_ >= number;
}

std::uint64_t SimEvent::latest() const {
  const MutexLock lock(mutex_);
  return asked_;
}

void run_sim_record(const WorkContext&, const void* params) {
  const auto& p = *static_cast<const SimEventParams*>(params);
  p.event->happened(p.number);
}

SimStream::SimStream(Device& device) : device_(device), ring_(16), thread_([this] { run(); }) {}

SimStream::~SimStream() {
  {
    const MutexLock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void SimStream::push(const Work& work) {
  {
    const MutexLock lock(mutex_);
    if (count_ == ring_.size()) {
      std::vector<Work> larger(2 * ring_.size());
      for (std::size_t i = 0; i < count_; ++i) larger[i] = ring_[(head_ + i) % ring_.size()];
      ring_.swap(larger);
      head_ = 0;
    }
    ring_[(head_ + count_) % ring_.size()] = work;
    ++count_;
  }
  changed_.notify_one();
}

bool SimStream::idle() const {
  const MutexLock lock(mutex_);
  return count_ == 0 && !running_;
}

void SimStream::run() {
  while (true) {
    Work work;
    {
      const MutexLock lock(mutex_);
      running_ = false;
      while (count_ == 0 && !closing_) changed_.wait(mutex_);
      if (count_ == 0) return;
      work = ring_[head_];
      head_ = (head_ + 1) % ring_.size();
      --count_;
      running_ = work.run != run_sim_record;
    }
    const SimScheduler::Turn turn;
    work.run(WorkContext{&device_, nullptr}, work.params.data());
  }
}

}  // namespace weft
