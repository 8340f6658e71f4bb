#include "collectives/executor/cuda/push_two_shot.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/launch_graphs.h"

namespace weft::collectives {
namespace {

using cuda::Kernel;
using cuda::PushTwoShotParams;

// Sums that the kernel is compiled for, of two ranks, keep up with larger pieces, which need fewer
// flags; others fall behind, and then small ones are better (64 MiB on 2 x H200).
constexpr std::int64_t kLargePiece = 32 << 10;
constexpr std::int64_t kSmallPiece = 16 << 10;

bool is_compiled_for(DType dtype, ReduceOp op) {
  const bool lean = dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
  return lean && (op == ReduceOp::sum || op == ReduceOp::avg);
}

struct Launch {
  const fabric::Fabric* fabric = nullptr;
  const Plan* plan = nullptr;
  std::int64_t slots_offset = 0;
  Rank rank{};
};

void run(const WorkContext& context, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  const Plan& plan = *launch.plan;
  const fabric::Fabric& fabric = *launch.fabric;
  PushTwoShotParams params;
  params.input =
      static_cast<const std::byte*>(plan.inputs[static_cast<std::size_t>(launch.rank.value())]);
  for (int r = 0; r < plan.world.value(); ++r) {
    params.outputs[r] = static_cast<std::byte*>(plan.outputs[static_cast<std::size_t>(r)]);
    params.arenas[r] = fabric.arena(Rank(r)).base;
  }
  params.slots_offset = launch.slots_offset;
  params.tiling = plan.tiling;
  params.layout = fabric.arena(launch.rank).layout;
  params.limits = plan.limits;
  params.records = fabric.fault_record(launch.rank, 0);
  params.fault = plan.fault;
  params.rank = launch.rank.value();
  params.dtype = plan.dtype;
  params.op = plan.op;
  const Kernel kernel = cuda::push_two_shot_kernel(plan.dtype, plan.op);
  cuda::launch_graphs(fabric).launch(
      context, launch.rank, {kernel, plan.tiling.blocks, kernel.threads, &params, sizeof(params)});
}

}  // namespace

std::int32_t push_two_shot_preload(const fabric::Fabric& fabric) {
  std::int32_t most = fabric.arena(Rank(0)).layout.blocks;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::min}) {
      most =
          std::min(most, cuda::co_resident_blocks(fabric, cuda::push_two_shot_kernel(dtype, op)));
    }
  }
  return most;
}

std::int64_t push_two_shot_least(WorldSize world) {
  return kLargePiece * std::max(1, world.value() - 1);
}

schedule::Tiling push_two_shot_tiling(const Plan& plan, const ScratchPart& scratch,
                                      std::int32_t blocks) {
  const bool lean = plan.world.value() == 2 && is_compiled_for(plan.dtype, plan.op);
  const std::int64_t piece_bytes = lean ? kLargePiece : kSmallPiece;
  const std::int64_t slots = scratch.bytes / (piece_bytes * (plan.world.value() - 1));
  const schedule::TilingLimits limits{
      piece_bytes, 1, static_cast<std::int32_t>(std::min<std::int64_t>(blocks, slots))};
  schedule::Tiling tiling =
      schedule::make_tiling(plan.elements, item_bytes(plan.dtype), plan.world, limits);
  tiling.slots = static_cast<std::int32_t>(
      std::clamp<std::int64_t>(slots / tiling.blocks, 1, std::max(1, tiling.rounds)));
  return tiling;
}

Work push_two_shot_work(const fabric::Fabric& fabric, const Plan& plan, const ScratchPart& scratch,
                        Rank rank) {
  const std::int64_t offset = fabric.arena(rank).layout.scratch_offset() + scratch.offset;
  return Work::make("push_two_shot", run, Launch{&fabric, &plan, offset, rank});
}

}  // namespace weft::collectives
