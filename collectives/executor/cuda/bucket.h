// Buckets: the two-shot zero-copy all-reduce of many tensors in one kernel a rank.
//
// To every rank belongs one chunk of the bucket's vector (collectives/bucket.h): it reads that
// chunk of all ranks' inputs, where they lie, and writes the sums to all ranks' outputs, between
// the two barriers of direct.h. What lies where says a table in pinned memory, made once a bucket:
// for every rank a list of items, a tensor or a piece of one, cut and dealt out by bytes, so that
// each warp has as much to do. Warps read items while the block waits for its peers.
//
// Invariants
//   1. The items of all ranks cover every element of the bucket exactly once: in place, an element
//      is read and written by the same thread of one rank.
//   2. The table is not written while an operation, a graph or a captured graph may read it: they
//      hold references.
//
// Any dtype, op, lengths and alignment; up to 16 ranks. Fault points: as direct.h.
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

inline constexpr int kBucketThreads = 512;
inline constexpr int kBucketWarps = kBucketThreads / 32;
inline constexpr std::int32_t kBucketBlocks = 64;
// Into how many parts a rank's items are dealt out, whatever the grid: its warps share the parts.
inline constexpr std::int32_t kBucketShares = kBucketBlocks * kBucketWarps;

// An item: its bytes, then where it begins in each rank's input, then in each rank's output.
constexpr int item_words(int world) { return 2 * world + 1; }

struct BucketParams {
  std::byte* arenas[kMaxCudaRanks] = {};
  const std::uint32_t* shares = nullptr;  // kBucketShares + 1 item numbers
  const std::uint64_t* items = nullptr;
  std::int32_t rank = 0;
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
  FaultPoint fault{};
  fabric::ArenaLayout layout{};
  fabric::WaitLimits limits{};
  fabric::FaultRecord* records = nullptr;  // this rank's, by block
};
static_assert(std::is_trivially_copyable_v<BucketParams> && sizeof(BucketParams) <= 4000);

// Several dtypes and ops share one.
Kernel bucket_kernel(DType dtype, ReduceOp op);

}  // namespace cuda

// Loads the kernels on every device of the fabric.
void bucket_preload(const fabric::Fabric& fabric);
// `max_blocks`: 0, or the caller's limit.
std::int32_t bucket_blocks(const fabric::Fabric& fabric, const Plan& plan, std::int32_t max_blocks);
// The work of one rank, `plan.tiling.blocks` blocks; makes the bucket's table if it has none. The
// plan outlives it. Under the fabric's launch lock.
Work bucket_work(fabric::Fabric& fabric, const Plan& plan, Rank rank);
// One rank alone: every tensor that is to be elsewhere is copied. A work without a function if none
// is.
Work bucket_copies(const Plan& plan);

}  // namespace weft::collectives
