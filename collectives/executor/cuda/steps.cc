#include "collectives/executor/cuda/steps.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/launch_graphs.h"
#include "collectives/executor/cuda/scratch.h"

namespace weft::collectives {
namespace {

using cuda::Kernel;
using cuda::StepsParams;

constexpr std::int32_t kDefaultBlocks = 64;

struct Launch {
  const fabric::Fabric* fabric = nullptr;
  const Plan* plan = nullptr;
  Rank rank{};
};

void run(const WorkContext& context, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  const Plan& plan = *launch.plan;
  const fabric::Fabric& fabric = *launch.fabric;
  StepsParams params;
  params.program = cuda::pack_program(*plan.schedule, launch.rank);
  params.input =
      static_cast<const std::byte*>(plan.inputs[static_cast<std::size_t>(launch.rank.value())]);
  for (int r = 0; r < plan.world.value(); ++r) {
    params.outputs[r] = static_cast<std::byte*>(plan.outputs[static_cast<std::size_t>(r)]);
    params.arenas[r] = fabric.arena(Rank(r)).base;
  }
  params.layout = fabric.arena(launch.rank).layout;
  params.slots_offset = params.layout.scratch_offset() + cuda::slots_region(params.layout).offset;
  params.in = plan.in;
  params.out = plan.out;
  params.tiling = plan.tiling;
  params.limits = plan.limits;
  params.records = fabric.fault_record(launch.rank, 0);
  params.fault = plan.fault;
  params.rank = launch.rank.value();
  params.meets = meets_at_end(plan);
  params.dtype = plan.dtype;
  params.op = plan.op;
  const Kernel kernel = cuda::steps_kernel();
  cuda::launch_graphs(fabric).launch(
      context, launch.rank, {kernel, plan.tiling.blocks, kernel.threads, &params, sizeof(params)});
}

}  // namespace

void steps_preload(const fabric::Fabric& fabric) {
  cuda::co_resident_blocks(fabric, cuda::steps_kernel());
}

std::string steps_problem(const fabric::Fabric& fabric, const schedule::Prepared& schedule) {
  std::string problem = cuda::program_problem(schedule.schedule);
  if (!problem.empty()) return problem;
  const std::int64_t bytes = cuda::slots_region(fabric.arena(Rank(0)).layout).bytes;
  const std::int64_t least = cuda::steps_least(schedule.slot_lanes);
  if (bytes >= least) return "";
  return concat("it needs ", least, " bytes of scratch a rank, and there are ", bytes);
}

schedule::Tiling steps_tiling(const fabric::Fabric& fabric, const Plan& plan,
                              const schedule::Extent& extent, std::int32_t max_blocks) {
  const std::int32_t wanted = max_blocks > 0 ? max_blocks : kDefaultBlocks;
  const std::int32_t most =
      std::min(wanted, cuda::co_resident_blocks(fabric, cuda::steps_kernel()));
  const std::int64_t scratch = cuda::slots_region(fabric.arena(Rank(0)).layout).bytes;
  return schedule::cut_chunks(extent.elements, extent.chunk_elements, item_bytes(plan.dtype),
                              cuda::steps_limits(plan.schedule->slot_lanes, scratch, most));
}

Work steps_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  return Work::make("steps", run, Launch{&fabric, &plan, rank});
}

}  // namespace weft::collectives
