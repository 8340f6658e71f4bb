#include "collectives/executor/cuda/ring.h"

#include <algorithm>
#include <cstdint>

#include "collectives/executor/cuda/scratch.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::collectives::cuda {
namespace {

constexpr std::int32_t kDefaultBlocks = 64;  // see bench/results: the link's rate on 2 x H200
// Pieces of a step, all blocks together. A step has to take longer than a piece's way from here
// through the peer and back, or the blocks run dry at its end: few blocks get long steps.
constexpr std::int32_t kStepPieces = 512;
constexpr std::int32_t kFewestPieces = 8;  // a block
constexpr std::int32_t kMostPieces = 64;
constexpr int kBulkCapability = 9;  // the first major version with bulk copies

bool has_bulk_copies(const fabric::Fabric& fabric) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    const int device = fabric.device(Rank(r)).id().ordinal.value();
    int major = 0;
    check_cuda(cuda_api().device_get_attribute(&major, cudaDevAttrComputeCapabilityMajor, device),
               "cudaDeviceGetAttribute", device);
    if (major < kBulkCapability) return false;
  }
  return true;
}

// May the bulk kernel run? Then on all ranks.
bool can_bulk(const fabric::Fabric& fabric, const Plan& plan) {
  std::uintptr_t addresses = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(plan.world.value()); ++r) {
    addresses |= reinterpret_cast<std::uintptr_t>(plan.inputs[r]) |
                 reinterpret_cast<std::uintptr_t>(plan.outputs[r]);
  }
  return addresses % kRingAlign == 0 && has_bulk_copies(fabric);
}

struct Launch {
  RingParams params;
  bool bulk = false;
};

void launch(const WorkContext& context, const void* work_params) {
  Launch launch = *static_cast<const Launch*>(work_params);
  const Kernel kernel = launch.bulk ? ring_kernel() : ring_simple_kernel();
  launch_kernel(context, kernel, launch.params.tiling.blocks, kernel.threads, &launch.params);
}

}  // namespace

schedule::TilingLimits ring_limits(const fabric::Fabric& fabric, std::int32_t max_blocks) {
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  schedule::TilingLimits limits;
  limits.piece_bytes = kRingPieceBytes;
  limits.blocks = std::min(max_blocks > 0 ? max_blocks : kDefaultBlocks, layout.blocks);
  limits.blocks = std::min(limits.blocks, co_resident_blocks(fabric, ring_simple_kernel()));
  if (has_bulk_copies(fabric)) {
    limits.blocks = std::min(limits.blocks, co_resident_blocks(fabric, ring_kernel()));
  }
  // A step's pieces take two slots each (schedule/tiling.h).
  const std::int64_t pieces = slots_region(layout).bytes / (2 * limits.piece_bytes);
  if (pieces < 1) {
    fail(ErrorCode::invalid_argument, "the fabric's scratch of ", layout.scratch_bytes,
         " bytes a rank is too small: the ring needs at least ", 2 * limits.piece_bytes);
  }
  limits.blocks = static_cast<std::int32_t>(std::min<std::int64_t>(limits.blocks, pieces));
  limits.pieces = std::clamp(kStepPieces / limits.blocks, kFewestPieces, kMostPieces);
  limits.pieces =
      static_cast<std::int32_t>(std::min<std::int64_t>(limits.pieces, pieces / limits.blocks));
  return limits;
}

void ring_preload(const fabric::Fabric& fabric) {
  co_resident_blocks(fabric, ring_simple_kernel());
  if (has_bulk_copies(fabric)) co_resident_blocks(fabric, ring_kernel());
}

Work ring_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  const int world = plan.world.value();
  const Rank next((rank.value() + 1) % world);
  const Rank previous((rank.value() + world - 1) % world);
  const auto index = static_cast<std::size_t>(rank.value());
  RingParams params;
  params.input = static_cast<const std::byte*>(plan.inputs[index]);
  params.output = static_cast<std::byte*>(plan.outputs[index]);
  params.next_output =
      static_cast<std::byte*>(plan.outputs[static_cast<std::size_t>(next.value())]);
  params.arena = fabric.arena(rank).base;
  params.next_arena = fabric.arena(next).base;
  params.previous_arena = fabric.arena(previous).base;
  params.records = fabric.fault_record(rank, 0);
  params.layout = fabric.arena(rank).layout;
  params.limits = plan.limits;
  params.tiling = plan.tiling;
  params.fault = plan.fault;
  params.chunks = plan.chunk_log(rank);
  params.rank = rank;
  params.world = plan.world;
  params.dtype = plan.dtype;
  params.op = plan.op;
  return Work::make("ring", launch, Launch{params, can_bulk(fabric, plan)});
}

}  // namespace weft::collectives::cuda
