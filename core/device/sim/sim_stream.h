// A simulated stream: one thread that runs works in the order they came. And events between
// streams.
//
// Invariants
//   1. Works run one at a time, first in first out; record and wait are works too.
//   2. An event is done when as many records have run as were asked for.
//   3. Destroying a stream runs what is queued, then joins the thread: nothing is dropped.
//
// Thread safety: push() from any thread. The queue is a ring that grows and never shrinks, so in
// steady state pushing allocates nothing.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/device/device.h"

namespace weft {

class SimEvent {
 public:
  std::uint64_t next_record();          // the number the next record will have
  void happened(std::uint64_t number);  // that record has run
  bool done() const;
  bool wait_latest(Deadline deadline);       // for the last record asked for; false at the deadline
  bool reached(std::uint64_t number) const;  // has that record run?
  std::uint64_t latest() const;
  std::int64_t happened_ns() const;  // when the newest record ran, by now_ns()

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  std::uint64_t asked_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  std::uint64_t happened_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  std::int64_t happened_ns_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
};

// The work of a stream that makes an event's record happen.
struct SimEventParams {
  SimEvent* event;
  std::uint64_t number;
};
void run_sim_record(const WorkContext& context, const void* params);

class SimStream {
 public:
  explicit SimStream(Device& device);
  ~SimStream();
  SimStream(const SimStream&) = delete;
  SimStream& operator=(const SimStream&) = delete;

  void push(const Work& work);
  // Has every work run? A record at the end need not have returned: who waited for it may ask.
  bool idle() const;

 private:
  void run();

  Device& device_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::vector<Work> ring_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
  std::size_t head_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  std::size_t count_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = 0;
  bool running_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = false;
  bool closing_ WEFT_THREAD_SAFETY(guarded_by(mutex_)) = false;
  std::thread thread_;
};

}  // namespace weft
