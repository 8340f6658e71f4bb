// Zero-copy collectives by loads and stores: inputs are read and outputs written where they lie, no
// scratch. One kernel for all of them: it takes a rank's moves (move.h).
//
//   entry barrier   a token to every peer: its inputs are there (written before its kernel began)
//   moves           16-byte packs where the addresses of a move line up, else element by element
//   exit barrier    nobody reads my inputs any more, and all of my output has been written
//
// Any dtype, op, length and alignment to the element; up to 16 ranks; grids are co-resident and of
// the same number of blocks on every rank. Sums are in rank order (rank_order.cuh). In place where
// one rank alone reads and writes an element: not with Motion::one_shot.
//
// Fault points: step 0 before the entry barrier, step 1 between the moves and the exit barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/executor/cuda/move.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {
namespace cuda {

// A move as the kernel sees it, in bytes.
struct DirectMove {
  std::int32_t from = 0;
  std::int32_t to = 0;
  std::int32_t head = 0;  // bytes before the first address that is a multiple of 16; -1: the
                          // addresses do not line up
  std::int64_t from_offset = 0;
  std::int64_t to_offset = 0;
  std::int64_t bytes = 0;
};

struct DirectParams {
  const std::byte* inputs[kMaxCudaRanks] = {};
  std::byte* outputs[kMaxCudaRanks] = {};
  std::byte* arenas[kMaxCudaRanks] = {};
  DirectMove moves[kMaxCudaRanks] = {};
  std::int32_t move_count = 0;
  std::int32_t rank = 0;
  bool pushes = false;  // somebody writes to a peer
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
  FaultPoint fault{};
  fabric::ArenaLayout layout{};
  fabric::WaitLimits limits{};
  fabric::FaultRecord* records = nullptr;  // this rank's, by block
};
static_assert(std::is_trivially_copyable_v<DirectParams> && sizeof(DirectParams) <= 4000);

// The kernel for a motion. Several dtypes and ops share one.
Kernel direct_kernel(Motion motion, DType dtype, ReduceOp op);

inline constexpr int kDirectThreads = 512;

}  // namespace cuda

// Loads the kernels on every device of the fabric.
void direct_preload(const fabric::Fabric& fabric);

// How many blocks a rank should use, `bytes` being what passes through it: each thread a pack, up
// to `most`.
std::int32_t direct_blocks(std::int64_t bytes, std::int32_t most);

// The work of one rank, `plan.tiling.blocks` blocks. The plan outlives it.
Work direct_work(const fabric::Fabric& fabric, const Plan& plan, const MotionPlan& motion,
                 Rank rank);

}  // namespace weft::collectives
