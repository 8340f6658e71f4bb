#include "collectives/executor/cuda/push_two_shot.h"

#include <algorithm>

#include "core/device/cuda/cuda_api.h"

namespace weft::collectives {
namespace {

using cuda::Kernel;
using cuda::PushTwoShotParams;

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
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(plan.tiling.blocks));
  config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
  config.stream = static_cast<cudaStream_t>(context.native_stream);
  // The kernel's system-wide fences need not wait for other kernels' writes on the device.
  cudaLaunchAttribute domain{};
  domain.id = cudaLaunchAttributeMemSyncDomain;
  domain.val.memSyncDomain = cudaLaunchMemSyncDomainRemote;
  config.attrs = &domain;
  config.numAttrs = 1;
  void* parameters[] = {&params};
  check_cuda(cuda_api().launch_kernel(&config, kernel.function, parameters), "cudaLaunchKernelEx",
             context.device->id().ordinal.value());
}

}  // namespace

bool push_two_shot_can(const Plan& plan) {
  std::uintptr_t addresses = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(plan.world.value()); ++r) {
    addresses |= reinterpret_cast<std::uintptr_t>(plan.inputs[r]) |
                 reinterpret_cast<std::uintptr_t>(plan.outputs[r]);
  }
  return addresses % cuda::kPushAlign == 0;
}

schedule::Tiling push_two_shot_tiling(std::int64_t elements, std::int64_t item_bytes,
                                      WorldSize world, const ScratchPart& scratch,
                                      std::int32_t blocks, std::int64_t piece_bytes) {
  const std::int64_t slots = scratch.bytes / (piece_bytes * (world.value() - 1));
  if (slots < 1) {
    fail(ErrorCode::invalid_argument, "scratch of ", scratch.bytes,
         " bytes a rank is too small: push_two_shot needs at least ",
         piece_bytes * (world.value() - 1));
  }
  const schedule::TilingLimits limits{
      piece_bytes, 1, static_cast<std::int32_t>(std::min<std::int64_t>(blocks, slots))};
  schedule::Tiling tiling = schedule::make_tiling(elements, item_bytes, world, limits);
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
