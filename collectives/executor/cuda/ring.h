// The ring all-reduce kernels: what a launch needs to know. Plain C++, no CUDA header.
//
// ring_kernel()         bulk copies (TMA) through shared memory, sm_90 and newer; every pointer and
//                       the length of every push in multiples of 16 bytes, but for the last push
// ring_simple_kernel()  plain loads and stores; any alignment, sm_80 and newer: the reference
//
// Both speak the same protocol (fabric/signal.h, schedule/ring.h, schedule/tiling.h) and give the
// same bits, so ranks that run either can meet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/plan.h"
#include "collectives/schedule/tiling.h"
#include "core/base/types.h"
#include "fabric/arena.h"
#include "fabric/signal.h"

namespace weft::collectives::cuda {

// One rank's view of the operation; the kernels' only parameter.
struct RingParams {
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::byte* next_output = nullptr;
  std::byte* arena = nullptr;
  std::byte* next_arena = nullptr;
  std::byte* previous_arena = nullptr;
  fabric::FaultRecord* records = nullptr;  // this rank's, by block
  fabric::ArenaLayout layout{};
  fabric::WaitLimits limits{};
  schedule::Tiling tiling{};
  FaultPoint fault{};
  fabric::ChunkLogView chunks{};
  Rank rank{};
  WorldSize world{1};
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};
static_assert(std::is_trivially_copyable_v<RingParams> && sizeof(RingParams) <= 264);

inline constexpr std::int64_t kRingPieceBytes = 16384;
inline constexpr int kRingAlign = 16;  // bytes, of every pointer given to ring_kernel()

Kernel ring_kernel();
Kernel ring_simple_kernel();

// Loads the kernels on every device of the fabric.
void ring_preload(const fabric::Fabric& fabric);
// What a launch with at most `max_blocks` blocks a rank (0: the default) can use. Throws
// CoResidencyError.
schedule::TilingLimits ring_limits(const fabric::Fabric& fabric, std::int32_t max_blocks);
// The work of one rank: the bulk kernel where all ranks' vectors are aligned, else the simple one.
Work ring_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives::cuda
