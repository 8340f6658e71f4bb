// How a rank's scratch is shared out among the families of kernels. Plain arithmetic, the same on
// host and device; offsets count from Arena::scratch().
//
//   [ LL lines ][ Lamport words ][ slots ]
//
//   LL lines        see ll.h; zero at first
//   Lamport words   see lamport.h; all ones between operations
//   slots           what is left: ring and the other families that signal by counts
//
// Invariants
//   1. While a flagged family may run, nothing but LL lines is in the LL region and nothing but
//      Lamport words in the Lamport region: a foreign bit pattern there could pass for a flag or
//      for data. Copy engines borrow both for one operation and set them back as they were first
//      (zeros, ones), in the order of every rank's stream.
//   2. Every region starts on a multiple of 256 bytes.
//   3. Scratch below kLeastFlagged is all slots: the flagged families then serve nothing.
#pragma once

#include <algorithm>
#include <cstdint>

#include "fabric/arena.h"

namespace weft::collectives::cuda {

inline constexpr std::int64_t kLeastFlagged = 256 << 10;
inline constexpr std::int64_t kMostLlBytes = 2 << 20;
inline constexpr std::int64_t kMostLamportBytes = 32 << 20;  // 2 ranks: vectors of 16 MiB
inline constexpr std::int64_t kLlShare = 32;                 // of the scratch, one part in so many
inline constexpr std::int64_t kLamportShare = 2;             // likewise
inline constexpr std::int64_t kLineBytes = 16;   // of an LL line and of a Lamport vector
inline constexpr std::int64_t kLinePayload = 8;  // of an LL line

enum class FlaggedFamily : std::uint8_t { ll, lamport };  // Arena::epochs

struct Region {
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  constexpr std::int64_t end() const { return offset + bytes; }
};

constexpr std::int64_t flagged_share(const fabric::ArenaLayout& layout, std::int64_t share,
                                     std::int64_t most) {
  if (layout.scratch_bytes < kLeastFlagged) return 0;
  return std::min(most, layout.scratch_bytes / share) / 256 * 256;
}

constexpr Region ll_region(const fabric::ArenaLayout& layout) {
  return {0, flagged_share(layout, kLlShare, kMostLlBytes)};
}

constexpr Region lamport_region(const fabric::ArenaLayout& layout) {
  return {ll_region(layout).end(), flagged_share(layout, kLamportShare, kMostLamportBytes)};
}

constexpr Region slots_region(const fabric::ArenaLayout& layout) {
  const std::int64_t begin = lamport_region(layout).end();
  return {begin, std::max<std::int64_t>(0, layout.scratch_bytes - begin)};
}

// Lines of 16 bytes in one parity of a region: a half of it.
constexpr std::int64_t parity_lines(const Region& region) {
  return region.bytes / (2 * kLineBytes);
}

// Of these, those of one source, where each source has `parts` parts.
constexpr std::int64_t lines_of_source(const fabric::ArenaLayout& layout, const Region& region,
                                       std::int64_t parts = 1) {
  const std::int64_t sources = std::max(1, layout.world - 1);
  return parity_lines(region) / (parts * sources);
}

// Bytes of a rank's vector that the families can take. Both need at least 2 ranks.
constexpr std::int64_t ll_capacity(const fabric::ArenaLayout& layout) {
  return lines_of_source(layout, ll_region(layout)) * kLinePayload;
}
constexpr std::int64_t lamport_capacity(const fabric::ArenaLayout& layout) {
  return lines_of_source(layout, lamport_region(layout)) * kLineBytes;
}
constexpr std::int64_t lamport_two_shot_capacity(const fabric::ArenaLayout& layout) {
  return lines_of_source(layout, lamport_region(layout), 2) * kLineBytes * layout.world;
}

}  // namespace weft::collectives::cuda
