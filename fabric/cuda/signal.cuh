// Signals on the device: the same words, counts and promises as fabric/signal.h.
//
// Invariants
//   1. A wait polls with relaxed loads and ends with one acquire load; a publication is one fence
//      and relaxed stores. No acquire in a loop: on the GPU each would empty the L1 cache. No fence
//      in a wait either: it would also wait for the thread's own copies.
//   2. Every wait ends: by arrival, by the deadline (counted from the thread's first wait), by the
//      abort flag, or because another thread of the block left. It never traps and is the same code
//      in debug and release builds.
//   3. A block writes at most one FaultRecord: the first thread to leave writes it. Who times out
//      also raises the abort flag.
//   4. A block that left an operation of lanes takes part in no later one: it returns from
//      begin_block() before it signals or moves anything.
#pragma once

#include <cstdint>

#include "core/base/types.h"
#include "core/device/cuda/ptx.cuh"
#include "fabric/arena.h"
#include "fabric/signal.h"

namespace weft::fabric::cuda {

// The device's way to the words of an arena (the methods of Arena are for the host).
__device__ inline LaneSignals* signals(std::byte* arena, const ArenaLayout& layout, int block,
                                       int peer) {
  return reinterpret_cast<LaneSignals*>(arena) + (block * layout.world + peer);
}
__device__ inline LaneProgress* progress(std::byte* arena, const ArenaLayout& layout, int block,
                                         int peer) {
  return reinterpret_cast<LaneProgress*>(arena + layout.progress_offset()) +
         (block * layout.world + peer);
}
// The block's word that says it left an operation.
__device__ inline std::uint32_t* left_word(std::byte* arena, const ArenaLayout& layout, int block) {
  return reinterpret_cast<std::uint32_t*>(arena + layout.left_offset()) + block;
}

// The first barrier of a block, all threads; false: it left an operation before this one.
__device__ inline bool begin_block(const std::uint32_t* left_word) {
  return __syncthreads_or(threadIdx.x == 0 && *left_word != 0) == 0;
}

// Whether the block is leaving early, and why. One a thread; all share a word in shared memory.
class FaultLatch {
 public:
  // `left_word`: in the arena, or null for operations that do not count on lanes.
  __device__ FaultLatch(std::uint32_t* shared_left, FaultRecord* record, const WaitLimits& limits,
                        std::uint32_t* left_word = nullptr)
      : left_(shared_left), left_word_(left_word), record_(record), limits_(limits) {}

  // sync(cuda-left): acquire - pairs with release in leave()
  __device__ bool left() const { return ptx::ld_acquire_cta(left_) != 0; }

  // Ends the block's part in the operation.
  __device__ void leave(Outcome outcome, Awaited awaited, int rank, int step, int peer,
                        std::uint32_t expected, std::uint32_t seen) {
    // sync(cuda-left): release - publishes that the block leaves; pairs with acquire in left()
    if (atomicExch(left_, 1U) != 0) return;
    if (left_word_) *left_word_ = 1;
    if (outcome == Outcome::timeout && limits_.abort_flag) {
      ptx::st_relaxed_sys(limits_.abort_flag, 1U);
    }
    volatile FaultRecord* record = record_;
    if (record->outcome != Outcome::ok) return;  // of an earlier operation
    record->operation = limits_.operation;
    record->awaited = awaited;
    record->rank = rank;
    record->step = step;
    record->peer = peer;
    record->expected = expected;
    record->seen = seen;
    __threadfence_system();
    record->outcome = outcome;
    __threadfence_system();
  }

  // The next wait counts as the first again.
  __device__ void stop_clock() { deadline_ = 0; }

  // A wait begins, or goes on after progress.
  __device__ void begin_wait() { checked_at_ = clock64(); }

  // What should end the wait. The GPU's clock is one for all blocks and the abort flag lies across
  // the bus: both are read at times, and not at all by a wait that ends soon.
  __device__ Outcome verdict() {
    if (clock64() - checked_at_ < kCyclesToCheck) return Outcome::ok;
    checked_at_ = clock64();
    const std::int64_t now = ptx::globaltimer();
    if (deadline_ == 0) deadline_ = now + limits_.timeout_ns;
    return now >= deadline_ ? Outcome::timeout : aborted();
  }

  __device__ Outcome aborted() const {
    const bool raised = limits_.abort_flag && ptx::ld_relaxed_sys(limits_.abort_flag) != 0;
    return raised ? Outcome::aborted : Outcome::ok;
  }

 private:
  static constexpr std::int64_t kCyclesToCheck = 200000;  // 0.1 ms at 2 GHz

  std::uint32_t* left_;
  std::uint32_t* left_word_;
  FaultRecord* record_;
  WaitLimits limits_;
  std::int64_t deadline_ = 0;
  std::int64_t checked_at_ = 0;
};

// One thread's reading of one word that a peer counts up.
class LaneWait {
 public:
  // `word` is the lane's; or, relayed, a word in shared memory that relay() keeps.
  __device__ LaneWait(const std::uint32_t* word, std::uint32_t base, bool relayed, Awaited awaited,
                      int rank, int peer)
      : word_(word), base_(base), relayed_(relayed), awaited_(awaited), rank_(rank), peer_(peer) {}

  // Blocks until `count` pieces or credits of this operation are there; false: the block leaves.
  __device__ bool reach(std::uint32_t count, int step, FaultLatch& latch) {
    if (there(count)) return true;
    if (!reach_relaxed(count, step, latch)) return false;
    // sync(cuda-lane): acquire - of the memory behind the count; pairs with release in publish()
    if (!relayed_) ptx::ld_acquire_sys(word_);
    return true;
  }

  // The same for a count that nothing written since the kernels began stands behind. Not before a
  // reach() of the same LaneWait.
  __device__ bool reach_relaxed(std::uint32_t count, int step, FaultLatch& latch) {
    latch.begin_wait();
    for (read(); !there(count); read()) {
      if (latch.left()) return false;
      const Outcome verdict = latch.verdict();
      if (verdict != Outcome::ok) {
        latch.leave(verdict, awaited_, rank_, step, peer_, count, seen_);
        return false;
      }
    }
    return true;
  }

 private:
  __device__ bool there(std::uint32_t count) const { return Epoch(seen_).reached(Epoch(count)); }
  __device__ void read() {
    // sync(cuda-relay): acquire - pairs with release in relay()
    seen_ = relayed_ ? ptx::ld_acquire_cta(word_) : ptx::ld_relaxed_sys(word_) - base_;
  }

  const std::uint32_t* word_;
  std::uint32_t base_;
  std::uint32_t seen_ = 0;  // counted from the operation's start
  bool relayed_;
  Awaited awaited_;
  int rank_;
  int peer_;
};

// Passes a lane's count on to a word in shared memory until it is `last`, so that who issues bulk
// copies waits neither for a peer nor for a fence. It has no deadline: it ends when the block
// leaves, and whoever waits for the relayed word sees to that.
__device__ inline void relay(const std::uint32_t* word, std::uint32_t base, std::uint32_t last,
                             std::uint32_t* shared_word, const FaultLatch& latch) {
  // The count may run past `last`: the peer may have begun the next operation.
  for (std::uint32_t passed = 0; !Epoch(passed).reached(Epoch(last)) && !latch.left();) {
    if (ptx::ld_relaxed_sys(word) - base == passed) continue;
    // sync(cuda-lane): acquire - of the memory behind the count; pairs with release in publish()
    passed = ptx::ld_acquire_sys(word) - base;
    ptx::fence_proxy_async();
    // sync(cuda-relay): release - publishes what the peer did; pairs with acquire in
    // LaneWait::read()
    ptx::st_release_cta(shared_word, passed);
  }
}

// sync(cuda-lane): release - publishes all this thread wrote or saw written; pairs with acquire in
// reach()
__device__ inline void publish(std::uint32_t* word, std::uint32_t value) {
  ptx::fence_acq_rel_sys();
  ptx::st_relaxed_sys(word, value);
}

}  // namespace weft::fabric::cuda
