#include "collectives/executor/cuda/ll_move.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/launch_graphs.h"
#include "collectives/executor/cuda/ll_move.cuh"
#include "collectives/schedule/tiling.h"

namespace weft::collectives::cuda {
namespace {

constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kLinesOfBlock = 256;

Part part_of(const schedule::Range& range, std::int64_t item) {
  return {range.begin * item, range.size() * item};
}

void fill_parts(const Plan& plan, Rank rank, LlMoveParams& params) {
  const std::int64_t item = item_bytes(plan.dtype);
  const int self = rank.value();
  for (const schedule::Step& step : plan.program(rank)) {
    const Part in = part_of(plan.in.chunk(self, step.chunk.value()), item);
    const Part out = part_of(plan.out.chunk(self, step.out_chunk().value()), item);
    if (step.source == schedule::Source::slot) {
      params.received[step.from.value()] = out;
    } else if (step.keep) {
      params.kept = in;
      params.kept_at = out.at;
    } else {
      params.sent[step.to.value()] = in;
    }
  }
}

void launch(const WorkContext& context, const void* work_params) {
  const FlaggedCall& call = *static_cast<const FlaggedCall*>(work_params);
  const Kernel kernel = ll_move_kernel();
  LlMoveParams params;
  params.flagged =
      flagged_params(call, FlaggedFamily::ll, ll_region(call.fabric->arena(call.rank).layout));
  fill_parts(*call.plan, call.rank, params);
  std::int64_t most = 1;
  for (int r = 0; r < params.flagged.world; ++r) {
    most = std::max({most, params.sent[r].bytes, params.received[r].bytes});
  }
  const std::int32_t blocks = call.plan->tiling.blocks;
  const std::int64_t lines = schedule::ceil_div(most, kLinePayload);
  const std::int64_t warps = schedule::ceil_div(schedule::ceil_div(lines, blocks), kWarp);
  const std::int64_t threads = std::min<std::int64_t>(warps * kWarp, kernel.threads);
  launch_graphs(*call.fabric)
      .launch(context, call.rank,
              {kernel, blocks, static_cast<std::int32_t>(threads), &params, sizeof(params)});
}

}  // namespace

void ll_move_preload(const fabric::Fabric& fabric) { co_resident_blocks(fabric, ll_move_kernel()); }

std::int32_t ll_move_blocks(const fabric::Fabric& fabric, std::int64_t bytes,
                            std::int32_t max_blocks) {
  std::int64_t most = co_resident_blocks(fabric, ll_move_kernel());
  if (max_blocks > 0) most = std::min<std::int64_t>(most, max_blocks);
  const std::int64_t lines = schedule::ceil_div(bytes, kLinePayload);
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(schedule::ceil_div(lines, kLinesOfBlock), 1, most));
}

Work ll_move_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  return Work::make("ll_move", launch, FlaggedCall{&fabric, &plan, rank});
}

}  // namespace weft::collectives::cuda
