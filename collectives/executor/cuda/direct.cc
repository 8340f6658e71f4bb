#include "collectives/executor/cuda/direct.h"

#include <algorithm>

#include "collectives/schedule/tiling.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::collectives {
namespace {

using cuda::DirectMove;
using cuda::DirectParams;
using cuda::Kernel;

constexpr int kPack = 16;

struct Launch {
  const fabric::Fabric* fabric = nullptr;
  const Plan* plan = nullptr;
  MotionPlan motion{};
  Rank rank{};
};

template <class Visit>
void for_each_of(std::int32_t which, int world, const Visit& visit) {
  if (which != kAllOfThem) return visit(static_cast<std::size_t>(which));
  for (int r = 0; r < world; ++r) visit(static_cast<std::size_t>(r));
}

// Bytes before all addresses of the move are multiples of 16; -1 if they never are at once.
std::int32_t head_bytes(const Plan& plan, const DirectMove& move) {
  std::int32_t residue = -1;
  bool lines_up = true;
  const auto look = [&](const void* memory, std::int64_t offset) {
    const auto address =
        reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::uintptr_t>(offset);
    const auto mine = static_cast<std::int32_t>(address % kPack);
    lines_up = lines_up && (residue < 0 || residue == mine);
    residue = mine;
  };
  for_each_of(move.from, plan.world.value(),
              [&](std::size_t r) { look(plan.inputs[r], move.from_offset); });
  for_each_of(move.to, plan.world.value(),
              [&](std::size_t r) { look(plan.outputs[r], move.to_offset); });
  if (!lines_up) return -1;
  return static_cast<std::int32_t>(std::min<std::int64_t>((kPack - residue) % kPack, move.bytes));
}

// Does any rank write to a peer? All ranks of a motion answer alike.
bool pushes(Motion motion) {
  return motion != Motion::one_shot && motion != Motion::one_shot_held &&
         motion != Motion::reduce_scatter;
}

void fill_moves(const Launch& launch, DirectParams& params) {
  const Plan& plan = *launch.plan;
  const std::int64_t item = item_bytes(plan.dtype);
  const MoveList list =
      moves_of(launch.motion, plan.world, launch.rank, plan.tiling.elements, item);
  for (const Move& move : list.span()) {
    DirectMove& to = params.moves[params.move_count++];
    to = {move.from, move.to, 0, move.from_offset * item, move.to_offset * item, move.count * item};
    to.head = head_bytes(plan, to);
  }
}

void run(const WorkContext& context, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  const Plan& plan = *launch.plan;
  const fabric::Fabric& fabric = *launch.fabric;
  DirectParams params;
  for (int r = 0; r < plan.world.value(); ++r) {
    const auto index = static_cast<std::size_t>(r);
    params.inputs[r] = static_cast<const std::byte*>(plan.inputs[index]);
    params.outputs[r] = static_cast<std::byte*>(plan.outputs[index]);
    params.arenas[r] = fabric.arena(Rank(r)).base;
  }
  fill_moves(launch, params);
  params.rank = launch.rank.value();
  params.pushes = pushes(launch.motion.motion);
  params.dtype = plan.dtype;
  params.op = plan.op;
  params.fault = plan.fault;
  params.layout = fabric.arena(launch.rank).layout;
  params.limits = plan.limits;
  params.records = fabric.fault_record(launch.rank, 0);
  const Kernel kernel = cuda::direct_kernel(launch.motion.motion, plan.dtype, plan.op);
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

std::int32_t direct_blocks(std::int64_t bytes, std::int32_t most) {
  const std::int64_t all =
      schedule::ceil_div(bytes, static_cast<std::int64_t>(kPack) * cuda::kDirectThreads);
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(all, 1, most));
}

bool direct_can_hold(const Plan& plan) {
  const std::int64_t item = item_bytes(plan.dtype);
  // The kernel sums one-byte types four at a time.
  const std::int64_t pack = item == 1 ? 4 : kPack;
  const std::int64_t threads = static_cast<std::int64_t>(plan.tiling.blocks) * cuda::kDirectThreads;
  if (plan.tiling.elements * item > threads * cuda::kDirectHeld * pack) return false;
  DirectMove whole{kAllOfThem, kAllOfThem, 0, 0, 0, plan.tiling.elements * item};
  return head_bytes(plan, whole) >= 0;
}

Work direct_work(const fabric::Fabric& fabric, const Plan& plan, const MotionPlan& motion,
                 Rank rank) {
  return Work::make("direct", run, Launch{&fabric, &plan, motion, rank});
}

}  // namespace weft::collectives
