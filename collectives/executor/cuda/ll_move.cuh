// What one rank's LL move kernel is told. See ll_move.h.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/flagged.h"

namespace weft::collectives::cuda {

// Bytes of a vector that travel whole.
struct Part {
  std::int64_t at = 0;  // from the vector's start
  std::int64_t bytes = 0;
};

struct LlMoveParams {
  FlaggedParams flagged{};
  Part sent[kMaxCudaRanks] = {};      // of the input, by receiver
  Part received[kMaxCudaRanks] = {};  // of the output, by sender
  Part kept{};                        // of the input
  std::int64_t kept_at = 0;           // its place in the output
};
static_assert(std::is_trivially_copyable_v<LlMoveParams> && sizeof(LlMoveParams) <= 4000);

}  // namespace weft::collectives::cuda
