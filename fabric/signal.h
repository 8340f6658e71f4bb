// Signals: the one release/acquire pair of weft. Here its words and its host side; the device side
// is cuda/signal.cuh.
//
// A lane joins an ordered pair of ranks within one block. On it two words count, and only ever go
// up:
//   data    lives with the receiver, written by the sender: pieces pushed so far
//   credit  lives with the sender, written by the receiver: slots read and free again
// Both wrap at 2^32 and are compared by signed distance (Epoch).
//
// Invariants
//   1. Each word has one writer. Nobody adds to a peer's word: writers store their own running
//      count.
//   2. Counts run on from operation to operation; LaneProgress, which only the owner touches, says
//      where the next one starts. So a replayed graph needs nothing from the host.
//   3. A rank ends an operation when it has seen every piece sent to it and every credit for what
//      it pushed into slots: between operations no lane has anything outstanding.
//   4. Every wait ends: by arrival, by its deadline, or by the abort flag. Except by arrival it
//      leaves a FaultRecord.
//   5. Polls are relaxed; one acquire load follows. No fences, so ThreadSanitizer sees all of it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/base/clock.h"
#include "core/base/types.h"
#include "fabric/mutant.h"

namespace weft::fabric {

struct LaneSignals {
  alignas(64) std::uint32_t data = 0;
  alignas(64) std::uint32_t credit = 0;
};
static_assert(sizeof(LaneSignals) == 128);

// Counts at the end of the last operation, of one rank towards one peer.
struct alignas(16) LaneProgress {
  std::uint32_t received = 0;      // pieces seen from the peer
  std::uint32_t sent = 0;          // pieces pushed to the peer
  std::uint32_t slots_read = 0;    // credits given to the peer
  std::uint32_t slots_pushed = 0;  // of `sent`, those into slots
};

enum class Outcome : std::uint32_t { ok = 0, timeout = 1, aborted = 2, stopped = 3 };
enum class Awaited : std::uint32_t { data = 0, credit = 1 };

// Why a rank left an operation early; in pinned host memory, one for each rank and block.
struct alignas(64) FaultRecord {
  Outcome outcome = Outcome::ok;
  Awaited awaited = Awaited::data;
  std::int32_t rank = -1;
  std::int32_t step = -1;
  std::int32_t peer = -1;      // whom it waited for; -1 if it did not wait (stopped)
  std::uint32_t expected = 0;  // pieces or credits, counted from the operation's start
  std::uint32_t seen = 0;
  std::uint64_t operation = 0;  // WaitLimits::operation of the first operation it left
};

// What every wait of one operation needs.
struct WaitLimits {
  std::int64_t timeout_ns = 0;          // from the first wait on
  std::uint32_t* abort_flag = nullptr;  // non-zero: leave; set by the first that times out
  std::uint64_t operation = 0;          // goes into the FaultRecord
};

// Publishes a new count on a word that a peer polls. The only release in the protocol.
inline void publish(std::uint32_t& word, Epoch count) {
  const auto order = active_mutant() == Mutant::relaxed_release ? std::memory_order_relaxed
                                                                : std::memory_order_release;
  // sync(signal): release - publishes the piece or the free slot; pairs with acquire in
  // Waiter::wait
  std::atomic_ref(word).store(count.value(), order);
}

// The waits of one rank in one operation. Not shared between threads.
class Waiter {
 public:
  // The record is written only when a wait ends without arrival, or by leave().
  Waiter(Rank self, const WaitLimits& limits, FaultRecord* record)
      : self_(self), limits_(limits), record_(record) {}

  struct Goal {
    Awaited awaited = Awaited::data;
    Rank peer{};
    Step step{};
    Epoch base{};             // the word's count when the operation began
    std::uint32_t count = 0;  // since then
  };
  // True once the word has reached base + count, and then all that was published with it is
  // visible. False at the deadline or when the abort flag is up.
  bool wait(std::uint32_t& word, const Goal& goal);
  // Has this rank left, in this operation or an earlier one? Then it takes no part until recover().
  bool left() const { return record_->outcome != Outcome::ok; }
  // Looks at the abort flag where no wait is due. False: leave.
  bool may_go_on(Step step);
  // Leaves without a wait: the record says where.
  void leave(Outcome outcome, Step step);

 private:
  bool poll(std::uint32_t& word, Epoch goal, std::uint32_t& seen);
  bool aborted() const;
  void give_up(Outcome outcome, const Goal& goal, std::uint32_t seen);

  Rank self_;
  WaitLimits limits_;
  FaultRecord* record_;
  std::int64_t deadline_ns_ = 0;  // 0: no wait has begun
};

}  // namespace weft::fabric
