#include "collectives/executor/cuda/lamport.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/flagged.h"
#include "collectives/executor/cuda/launch_graphs.h"

namespace weft::collectives::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max,
                             ReduceOp::prod};
constexpr std::int64_t kVectorsOfBlock = 128;  // while there are blocks; 64 KiB on, on 2 x H200

// `vectors`: how many 16-byte vectors the grid's threads share out.
void launch_flagged(const WorkContext& context, const FlaggedCall& call, const Kernel& kernel,
                    FlaggedParams params, std::int64_t vectors) {
  const std::int32_t blocks = call.plan->tiling.blocks;
  const std::int64_t warps = schedule::ceil_div(schedule::ceil_div(vectors, blocks), kWarp);
  const std::int64_t threads = std::min<std::int64_t>(warps * kWarp, kernel.threads);
  launch_graphs(*call.fabric)
      .launch(context, call.rank,
              {kernel, blocks, static_cast<std::int32_t>(threads), &params, sizeof(params)});
}

void launch_one_shot(const WorkContext& context, const void* work_params) {
  const FlaggedCall& call = *static_cast<const FlaggedCall*>(work_params);
  const Region region = lamport_region(call.fabric->arena(call.rank).layout);
  const FlaggedParams params = flagged_params(call, FlaggedFamily::lamport, region);
  launch_flagged(context, call, lamport_kernel(call.plan->dtype, call.plan->op), params,
                 schedule::ceil_div(params.bytes, kLineBytes));
}

void launch_two_shot(const WorkContext& context, const void* work_params) {
  const FlaggedCall& call = *static_cast<const FlaggedCall*>(work_params);
  const Region region = lamport_region(call.fabric->arena(call.rank).layout);
  const FlaggedParams params = flagged_params(call, FlaggedFamily::lamport, region, 2);
  launch_flagged(context, call, lamport_two_shot_kernel(call.plan->dtype, call.plan->op), params,
                 schedule::ceil_div(params.bytes, kLineBytes * params.world));
}

std::int32_t blocks_for(const fabric::Fabric& fabric, const Kernel& kernel, std::int64_t vectors,
                        std::int32_t max_blocks) {
  std::int64_t most = co_resident_blocks(fabric, kernel);
  if (max_blocks > 0) most = std::min<std::int64_t>(most, max_blocks);
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(schedule::ceil_div(vectors, kVectorsOfBlock), 1, most));
}

}  // namespace

bool lamport_serves(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32 || dtype == DType::f64;
}

void lamport_preload(const fabric::Fabric& fabric) {
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32, DType::f64}) {
    for (const ReduceOp op : kOps) {
      co_resident_blocks(fabric, lamport_kernel(dtype, op));
      co_resident_blocks(fabric, lamport_two_shot_kernel(dtype, op));
    }
  }
}

std::int32_t lamport_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op,
                            std::int64_t bytes, std::int32_t max_blocks) {
  return blocks_for(fabric, lamport_kernel(dtype, op), schedule::ceil_div(bytes, kLineBytes),
                    max_blocks);
}

std::int32_t lamport_two_shot_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op,
                                     std::int64_t bytes, std::int32_t max_blocks) {
  return blocks_for(fabric, lamport_two_shot_kernel(dtype, op),
                    schedule::ceil_div(bytes, kLineBytes * fabric.world().value()), max_blocks);
}

Work lamport_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  return Work::make("lamport", launch_one_shot, FlaggedCall{&fabric, &plan, rank});
}

Work lamport_two_shot_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  return Work::make("lamport_two_shot", launch_two_shot, FlaggedCall{&fabric, &plan, rank});
}

}  // namespace weft::collectives::cuda
