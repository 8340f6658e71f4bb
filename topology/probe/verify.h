// Whether peers reach each other's memory: bytes that went there and back are compared.
//
// Drivers say yes and drop or corrupt what is moved, e.g. where an IOMMU or PCIe's access control
// redirects peers' accesses. So a pair counts only after three patterns, that depend on the pair,
// the direction and the way, have arrived: stored by a kernel of the one device in the other's
// memory, loaded by it from there, and copied by the copy engine.
//
// Invariants
//   1. Nothing is left behind: memory, streams and events go back however it ends. Peer access
//   stays
//      enabled.
//   2. Every wait has a deadline. A pair whose test fails or does not end has a reason, and the
//      others are still tried.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/device/device.h"

namespace weft::topology {

struct PairCheck {
  // Nothing: not tried, since the driver gives no peer access, or the devices could not be used.
  std::optional<bool> verified;
  std::string reason;  // empty if verified
};

// The ways that bytes take, in the order tried.
enum class Way : std::uint8_t { store, load, copy_engine };
const char* way_name(Way way);  // "kernel store", "kernel load", "copy engine"

// The bytes that a device `from` must find at `to`, word by word. No two ways, pairs or directions
// share them, nor a word its neighbour's.
std::uint32_t pattern_word(int from, int to, Way way, std::uint32_t index);

// Every ordered pair, row-major: [from * n + to] is about `from` addressing the memory of `to`. A
// device and itself are verified. Blocks; seconds at most where nothing answers.
std::vector<PairCheck> verify_pairs(std::span<Device* const> devices,
                                    double seconds_each_wait = 5.0);

}  // namespace weft::topology
