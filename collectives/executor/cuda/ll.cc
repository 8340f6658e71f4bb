#include "collectives/executor/cuda/ll.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/flagged.h"
#include "collectives/executor/cuda/launch_graphs.h"

namespace weft::collectives::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr ReduceOp kOps[] = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max,
                             ReduceOp::prod};
constexpr std::int64_t kLinesOfBlock = 256;  // up to 256 KiB on 2 x H200

void launch(const WorkContext& context, const void* work_params) {
  const FlaggedCall& call = *static_cast<const FlaggedCall*>(work_params);
  const Kernel kernel = ll_kernel(call.plan->dtype, call.plan->op);
  FlaggedParams params =
      flagged_params(call, FlaggedFamily::ll, ll_region(call.fabric->arena(call.rank).layout));
  const std::int32_t blocks = call.plan->tiling.blocks;
  const std::int64_t lines = schedule::ceil_div(params.bytes, kLinePayload);
  const std::int64_t warps = schedule::ceil_div(schedule::ceil_div(lines, blocks), kWarp);
  const std::int64_t threads = std::min<std::int64_t>(warps * kWarp, kernel.threads);
  launch_graphs(*call.fabric)
      .launch(context, call.rank,
              {kernel, blocks, static_cast<std::int32_t>(threads), &params, sizeof(params)});
}

}  // namespace

void ll_preload(const fabric::Fabric& fabric) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    for (const ReduceOp op : kOps) co_resident_blocks(fabric, ll_kernel(dtype, op));
  }
}

std::int32_t ll_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op, std::int64_t bytes,
                       std::int32_t max_blocks) {
  const Kernel kernel = ll_kernel(dtype, op);
  std::int64_t most = co_resident_blocks(fabric, kernel);
  if (max_blocks > 0) most = std::min<std::int64_t>(most, max_blocks);
  const std::int64_t lines = schedule::ceil_div(bytes, kLinePayload);
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(schedule::ceil_div(lines, kLinesOfBlock), 1, most));
}

Work ll_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  return Work::make("ll", launch, FlaggedCall{&fabric, &plan, rank});
}

}  // namespace weft::collectives::cuda
