// Which simulated device owns which memory: the map behind enforced peer access.
//
// Invariants
//   1. Ranges never overlap; a range is in the map from before it is handed out until before it is
//      given back.
//   2. Memory in no range is host memory, lent by the user for a call.
//
// Thread safety: a reader-writer lock; lookups do not block each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "core/base/mutex.h"
#include "core/base/types.h"

namespace weft {

class SimMemory {
 public:
  struct RangeInfo {
    DeviceOrdinal owner;
    std::int64_t bytes_left;  // from the asked address to the range's end
  };

  static SimMemory& instance();

  // Zeroed pages, aligned to 4096 (256 below 64 KiB). Throws OutOfMemory.
  void* allocate(DeviceOrdinal owner, Bytes bytes, bool zeroed);
  void deallocate(void* memory) noexcept;
  std::optional<RangeInfo> find(const void* memory) const;
  // Bytes in use of one device: what tests look at for leaks.
  std::int64_t bytes_in_use(DeviceOrdinal owner) const;

 private:
  struct Range {
    std::int64_t bytes = 0;
    DeviceOrdinal owner{};
    bool mapped = false;  // by mmap, else by aligned_alloc
  };
  mutable SharedMutex mutex_;
  std::map<std::uintptr_t, Range> ranges_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft
