// What every piece of an operation did and when: the records behind a trace of detail "chunks".
//
// A rank has one log in memory of its device: a switch, a count for each block, and room for the
// records of each block.
//
// Invariants
//   1. A block's records have one writer at a time: the operations of a rank follow each other, and
//      within one each record has a number of its own.
//   2. A count goes up by every record, kept or not: what exceeds the room was dropped, exactly.
//   3. While the log is off, nothing is written; who runs looks once, at its start.
//   4. The host reads the log while nothing is in flight.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/types.h"
#include "core/device/device.h"

namespace weft::fabric {

// Times are nanoseconds of one clock: the host's (now_ns), the device's, or from an operation's
// launch on where they are predicted. A step that waits for everyone has, before its own record,
// one for every peer of which nothing is known but when the wait for it began and ended.
struct alignas(16) ChunkRecord {
  static constexpr std::int16_t kAnchor = -1;  // as `piece`: see cuda/chunk_log.cuh

  std::int64_t t_wait = 0;      // began to wait for the piece, or for a slot to push it to
  std::int64_t t_ready = 0;     // saw that both are there
  std::int64_t t_moved = 0;     // had reduced or copied it
  std::int64_t t_signal = 0;    // had signalled it, or had nobody to signal
  std::uint32_t operation = 0;  // the low bits of its number
  std::int32_t bytes = 0;
  std::int32_t round = 0;
  // Which of all that the rank waits for from `from` in the operation, and signals to `to`, from 1
  // on; 0: none.
  std::uint32_t received = 0;
  std::uint32_t sent = 0;
  std::int16_t rank = -1;
  std::int16_t block = 0;
  std::int16_t step = 0;
  std::int16_t piece = 0;
  std::int16_t from = -1;  // whom it waited for; -1: nobody, -2: everyone, told before
  std::int16_t to = -1;    // whom it was pushed to; -1: nobody
};
static_assert(sizeof(ChunkRecord) == 64);

// One rank's log as executors see it: plain addresses.
struct ChunkLogView {
  std::uint32_t* words = nullptr;  // whether it is on, then the blocks' counts; null: no log
  ChunkRecord* records = nullptr;
  std::uint32_t room = 0;  // of each block

  constexpr std::uint32_t* count(std::int32_t block) const { return words + 1 + block; }
  constexpr ChunkRecord* of_block(std::int32_t block) const {
    return records + static_cast<std::int64_t>(block) * room;
  }
};

// Writes one block's records of one operation, on the host.
class ChunkWriter {
 public:
  ChunkWriter(ChunkLogView log, std::int32_t block);
  bool on() const { return count_ != nullptr; }
  void add(const ChunkRecord& record);

 private:
  ChunkRecord* records_ = nullptr;
  std::uint32_t* count_ = nullptr;
  std::uint32_t room_ = 0;
};

// The logs of all ranks.
class ChunkLog {
 public:
  static constexpr std::uint32_t kRecords = 1 << 19;  // a rank, 64 bytes each

  struct Place {
    Device* device = nullptr;
    Stream stream{};  // of the rank; both outlive the log
  };
  // Throws OutOfMemory.
  ChunkLog(std::span<const Place> ranks, std::int32_t blocks);
  ~ChunkLog();
  ChunkLog(const ChunkLog&) = delete;
  ChunkLog& operator=(const ChunkLog&) = delete;

  ChunkLogView view(Rank rank) const { return log(rank).view; }
  struct Content {
    std::vector<ChunkRecord> records;  // by block, then as they were written
    std::uint64_t dropped = 0;
  };
  // Empties the logs and switches them on, or off, in the order of the ranks' streams. Only while
  // nothing is in flight. Throws what devices throw, OutOfMemory, CollectiveTimeout.
  void start();
  void stop();
  // What the rank's log held at the stop; once.
  Content take(Rank rank);

 private:
  struct Log {
    Place place{};
    ChunkLogView view{};
    std::uint32_t* host = nullptr;  // pinned: the words as they were at the stop
    Content content{};              // as of then
  };
  const Log& log(Rank rank) const { return logs_[static_cast<std::size_t>(rank.value())]; }
  Bytes words_bytes() const {
    return Bytes(static_cast<std::int64_t>(sizeof(std::uint32_t)) * (1 + blocks_));
  }
  void fetch(Log& log) const;
  void release() noexcept;

  std::int32_t blocks_;
  std::vector<Log> logs_;
};

}  // namespace weft::fabric
