// Two-shot all-reduce by pushes alone, for large vectors: a rank pushes pieces of its input into
// slots of the ranks that own them; the owner sums them in rank order and pushes the result into
// every output.
//
// Needs: inputs and outputs at multiples of 16 bytes; any length, dtype and op; up to 16 ranks,
// grids co-resident. Slots: blocks x (world - 1) x slots x pieces of 16 or 32 KiB of scratch.
//
// In place is right: an element of a rank's output is written by the owner of its chunk alone, and
// only after that rank's own contribution of the element has reached the owner, so after it was
// read. The owner's own element is read and written by one and the same thread.
//
// Fault points: step 0 before the first push, step 1 before the first sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {
namespace cuda {

inline constexpr int kPushAlign = 16;

struct PushTwoShotParams {
  const std::byte* input = nullptr;
  std::byte* outputs[kMaxCudaRanks] = {};
  std::byte* arenas[kMaxCudaRanks] = {};
  std::int64_t slots_offset = 0;  // of an arena's first slot
  schedule::Tiling tiling{};      // one piece a round; `slots` a block and source
  fabric::ArenaLayout layout{};
  fabric::WaitLimits limits{};
  fabric::FaultRecord* records = nullptr;  // this rank's, by block
  FaultPoint fault{};
  std::int32_t rank = 0;
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};
static_assert(std::is_trivially_copyable_v<PushTwoShotParams> && sizeof(PushTwoShotParams) <= 4000);

// Several dtypes and ops share one.
Kernel push_two_shot_kernel(DType dtype, ReduceOp op);

}  // namespace cuda

// A part of every arena's scratch.
struct ScratchPart {
  std::int64_t offset = 0;  // from Arena::scratch(), a multiple of 128
  std::int64_t bytes = 0;
};

// Loads the kernels on every device of the fabric; the most blocks that a rank may launch of them.
std::int32_t push_two_shot_preload(const fabric::Fabric& fabric);

// The scratch that it needs: one slot a source.
std::int64_t push_two_shot_least(WorldSize world);
// How plan.elements are cut for at most `blocks` blocks.
schedule::Tiling push_two_shot_tiling(const Plan& plan, const ScratchPart& scratch,
                                      std::int32_t blocks);
// The work of one rank; `plan.tiling` is of push_two_shot_tiling() with the same scratch. The plan
// outlives it.
Work push_two_shot_work(const fabric::Fabric& fabric, const Plan& plan, const ScratchPart& scratch,
                        Rank rank);

}  // namespace weft::collectives
