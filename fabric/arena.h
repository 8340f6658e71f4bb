// Where a rank's signals, progress and slots lie. One arena a rank, in memory that all peers reach.
//
//   [ LaneSignals  blocks x world ][ LaneProgress  blocks x world ][ epochs ][ left ][ slots ]
//
// Epochs are words of protocols that count operations, one a block and family; only their owner
// touches them. Like counts they start at the fabric's first epoch. A block's `left` word says that
// it left an operation early: its progress is that of an operation it did not end, so it takes part
// in none until recover().
//
// Plain data and arithmetic: the same on host, simulated devices and CUDA. Lane (block, peer) of
// rank r's arena carries what `peer` sends to r (data) and what `peer` has read of r's pushes
// (credit).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/types.h"
#include "fabric/signal.h"

namespace weft::fabric {

struct ArenaLayout {
  static constexpr int kEpochFamilies = 2;

  std::int32_t world = 1;
  std::int32_t blocks = 1;         // the most blocks an operation may use
  std::int64_t scratch_bytes = 0;  // for slots, shared out by the executor

  constexpr std::int64_t lanes() const { return static_cast<std::int64_t>(world) * blocks; }
  constexpr std::int64_t progress_offset() const {
    return lanes() * static_cast<std::int64_t>(sizeof(LaneSignals));
  }
  constexpr std::int64_t epochs_offset() const {
    return progress_offset() + lanes() * static_cast<std::int64_t>(sizeof(LaneProgress));
  }
  constexpr std::int64_t left_offset() const {
    return epochs_offset() + static_cast<std::int64_t>(blocks) * kEpochFamilies * 4;
  }
  constexpr std::int64_t scratch_offset() const {
    const std::int64_t end = left_offset() + static_cast<std::int64_t>(blocks) * 4;
    return (end + 255) / 256 * 256;
  }
  constexpr std::int64_t bytes() const { return scratch_offset() + scratch_bytes; }
};

// A rank's arena as its owner and its peers address it.
struct Arena {
  std::byte* base = nullptr;
  ArenaLayout layout{};

  constexpr std::int64_t lane(std::int32_t block, Rank peer) const {
    return static_cast<std::int64_t>(block) * layout.world + peer.value();
  }
  LaneSignals* signals(std::int32_t block, Rank peer) const {
    return reinterpret_cast<LaneSignals*>(base) + lane(block, peer);
  }
  LaneProgress* progress(std::int32_t block, Rank peer) const {
    return reinterpret_cast<LaneProgress*>(base + layout.progress_offset()) + lane(block, peer);
  }
  // One word a block.
  std::uint32_t* epochs(int family) const {
    return reinterpret_cast<std::uint32_t*>(base + layout.epochs_offset()) +
           static_cast<std::ptrdiff_t>(family) * layout.blocks;
  }
  // By block.
  std::uint32_t* left() const {
    return reinterpret_cast<std::uint32_t*>(base + layout.left_offset());
  }
  std::byte* scratch() const { return base + layout.scratch_offset(); }
};

}  // namespace weft::fabric
