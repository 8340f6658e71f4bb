// A ring of the last kCapacity events: lock-free writers, readers that never block them, exact
// drops.
//
// Invariants
//   1. Every event gets the next sequence number, from 0, without gaps.
//   2. A snapshot holds the events [base_seq, next_seq) in order, none torn; dropped_total ==
//      base_seq.
//   3. A record is 128 bytes and plain data; its layout is versioned by kSchema.
//
// Each slot has a version word: 2 * seq + 1 while event seq is written, 2 * seq + 2 once it is
// there. The payload is words of atomics, so a torn read is seen (by the version), not undefined. A
// writer waits only for one that is a whole lap behind on the same slot and in the middle of its
// stores. Thread-safe throughout.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace weft {

enum class EventKind : std::uint8_t {
  all_reduce,
  copy,
  wait,
  peer_enable,
  segment,
  capture,
  fault,
  abort,
  recover,
  open,
  close,
  barrier,
  reduce_scatter,
  all_gather,
  broadcast,
  reduce,
  all_to_all,
  scatter,
  gather,
  send_recv,
  graph
};
enum class EventStatus : std::uint8_t { ok, failed };
enum class ClockSource : std::uint8_t { none, host, device, predicted };

struct EventRecord {
  static constexpr int kSchema = 1;
  static constexpr std::uint64_t kNoOperation = UINT64_MAX;  // op_id of what was never launched

  std::uint64_t seq = 0;
  std::uint64_t op_id = 0;
  std::int64_t bytes = 0;
  std::int64_t t_enqueue_ns = 0;  // host clock (now_ns)
  std::int64_t t_launch_ns = 0;   // host clock
  std::int64_t t_start_ns = 0;    // clock named by `clock`
  std::int64_t t_end_ns = 0;
  std::uint64_t stream = 0;
  std::int32_t rank = -1;
  std::int32_t device = -1;
  std::int32_t blocks = 0;
  std::int32_t culprit = -1;
  char algorithm[16] = {};  // padded with zeros, not terminated
  char path[12] = {};
  EventKind kind = EventKind::all_reduce;
  std::uint8_t dtype = 255;     // index of DType, 255: none
  std::uint8_t op = 255;        // index of the reduce op, 255: none
  std::uint8_t protocol = 255;  // see protocol names of the collectives, 255: none
  EventStatus status = EventStatus::ok;
  ClockSource clock = ClockSource::none;
  std::uint8_t reserved[14] = {};

  // Of a longer name as much as there is room for.
  void set_algorithm(std::string_view name) { set(algorithm, name); }
  void set_path(std::string_view name) { set(path, name); }

 private:
  template <std::size_t kSize>
  static void set(char (&to)[kSize], std::string_view from) {
    from.copy(to, kSize);
  }
};
static_assert(sizeof(EventRecord) == 128);

class EventRing {
 public:
  static constexpr std::uint64_t kCapacity = 65536;

  EventRing();
  // Stores a copy with the next sequence number. Takes no lock; never throws.
  void record(EventRecord event) noexcept;

  // How many there have been.
  std::uint64_t recorded() const { return next_.load(std::memory_order_relaxed); }

  struct Snapshot {
    std::vector<EventRecord> events;
    std::uint64_t base_seq = 0;
    std::uint64_t next_seq = 0;
  };
  // Waits at most 10 ms for events that have a number and are still being written, then ends before
  // the first of them. May throw bad_alloc.
  Snapshot snapshot() const;

 private:
  static constexpr std::size_t kWords = sizeof(EventRecord) / sizeof(std::uint64_t);
  struct Slot {
    std::atomic<std::uint64_t> version{0};
    std::array<std::atomic<std::uint64_t>, kWords> words{};
  };
  enum class Read : std::uint8_t { ok, pending, overwritten };
  Read read_slot(std::uint64_t seq, EventRecord& event) const;
  Slot& slot(std::uint64_t seq) const { return slots_[seq % kCapacity]; }

  std::unique_ptr<Slot[]> slots_;
  std::atomic<std::uint64_t> next_{0};
};

}  // namespace weft
