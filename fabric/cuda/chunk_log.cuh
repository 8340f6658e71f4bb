// Records of chunks on the device: see fabric/chunk_log.h.
//
// The GPU's nanosecond clock is slow to read, so a record's times are cycles of its multiprocessor.
// Behind a block's records of an operation stands an anchor, a record with piece kAnchor: both
// clocks at the block's start (t_wait nanoseconds, t_ready cycles) and at its end (t_moved,
// t_signal). The end is told by block 0 alone, as all multiprocessors have one frequency, and many
// blocks would queue up for the slow clock at the operation's end.
#pragma once

#include <cstdint>

#include "core/device/cuda/ptx.cuh"
#include "fabric/chunk_log.h"

namespace weft::fabric::cuda {

// One block's records of one operation; every thread that writes some has one.
class BlockLog {
 public:
  __device__ BlockLog(const ChunkLogView& log, int block) {
    if (log.words == nullptr || log.words[0] == 0) return;
    records_ = log.of_block(block);
    count_ = log.count(block);
    base_ = *count_;
    room_ = log.room;
  }

  __device__ bool on() const { return records_ != nullptr; }
  __device__ std::int64_t now() const { return on() ? clock64() : 0; }
  // The operation's record of that number; each is written once.
  __device__ void put(std::uint32_t number, const ChunkRecord& record) const {
    if (on() && base_ + number < room_) records_[base_ + number] = record;
  }

  // One thread, at the block's start and end. `records`: how many were put.
  __device__ void begin() {
    if (!on()) return;
    const std::int64_t before = clock64();
    begin_ns_ = ptx::globaltimer();
    begin_cycles_ = before + (clock64() - before) / 2;
  }
  __device__ void end(std::uint32_t records, std::uint64_t operation, int block) const {
    if (!on()) return;
    ChunkRecord anchor;
    anchor.t_wait = begin_ns_;
    anchor.t_ready = begin_cycles_;
    if (block == 0) {
      anchor.t_moved = ptx::globaltimer();
      anchor.t_signal = clock64();
    }
    anchor.operation = static_cast<std::uint32_t>(operation);
    anchor.block = static_cast<std::int16_t>(block);
    anchor.piece = ChunkRecord::kAnchor;
    put(records, anchor);
    *count_ = base_ + records + 1;
  }

 private:
  ChunkRecord* records_ = nullptr;  // null: the log is off
  std::uint32_t* count_ = nullptr;
  std::uint32_t base_ = 0;
  std::uint32_t room_ = 0;
  std::int64_t begin_ns_ = 0;
  std::int64_t begin_cycles_ = 0;
};

}  // namespace weft::fabric::cuda
