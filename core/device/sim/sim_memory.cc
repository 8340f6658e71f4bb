#include "core/device/sim/sim_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/base/error.h"

namespace weft {
namespace {

constexpr std::int64_t kMapFrom = 64 * 1024;
constexpr std::int64_t kHugePage = 2 * 1024 * 1024;

void* map_pages(std::int64_t bytes) {
  void* memory = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (bytes >= kHugePage) madvise(memory, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return memory;
}

void* take_block(std::int64_t bytes, bool zeroed) {
  const auto rounded = static_cast<std::size_t>((bytes + 255) / 256 * 256);
  void* memory = std::aligned_alloc(256, rounded);
  if (memory && zeroed) std::memset(memory, 0, rounded);
  return memory;
}

}  // namespace

SimMemory& SimMemory::instance() {
  static SimMemory& memory = *new SimMemory();
  return memory;
}

void* SimMemory::allocate(DeviceOrdinal owner, Bytes bytes, bool zeroed) {
  if (bytes.value() == 0) return nullptr;
  const bool mapped = bytes.value() >= kMapFrom;
  void* memory = mapped ? map_pages(bytes.value()) : take_block(bytes.value(), zeroed);
  if (!memory) {
    throw Error(ErrorCode::out_of_memory,
                concat("sim:", owner, ": no ", bytes, " bytes of memory left; ",
                       bytes_in_use(owner), " are in use"),
                {.device = concat("sim:", owner)});
  }
  const WriteLock lock(mutex_);
  ranges_.emplace(reinterpret_cast<std::uintptr_t>(memory), Range{bytes.value(), owner, mapped});
  return memory;
}

void SimMemory::deallocate(void* memory) noexcept {
  if (!memory) return;
  Range range;
  {
    const WriteLock lock(mutex_);
    const auto found = ranges_.find(reinterpret_cast<std::uintptr_t>(memory));
    if (found == ranges_.end()) return;
    range = found->second;
    ranges_.erase(found);
  }
  if (range.mapped) {
    munmap(memory, static_cast<std::size_t>(range.bytes));
  } else {
    std::free(memory);
  }
}

std::optional<SimMemory::RangeInfo> SimMemory::find(const void* memory) const {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const ReadLock lock(mutex_);
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return std::nullopt;
  const auto& [base, range] = *std::prev(after);
  const auto into = static_cast<std::int64_t>(address - base);
  if (into >= range.bytes) return std::nullopt;
  return RangeInfo{range.owner, range.bytes - into};
}

std::int64_t SimMemory::bytes_in_use(DeviceOrdinal owner) const {
  const ReadLock lock(mutex_);
  std::int64_t total = 0;
  for (const auto& [base, range] : ranges_) {
    if (range.owner == owner) total += range.bytes;
  }
  return total;
}

}  // namespace weft
