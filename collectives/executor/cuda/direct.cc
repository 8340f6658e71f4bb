#include "collectives/executor/cuda/direct.h"

#include <algorithm>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/launch_graphs.h"
#include "collectives/schedule/tiling.h"

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
  return motion != Motion::one_shot && motion != Motion::reduce_scatter;
}

void fill_moves(const Launch& launch, DirectParams& params) {
  const Plan& plan = *launch.plan;
  const std::int64_t item = item_bytes(plan.dtype);
  const MoveList list = moves_of(launch.motion, plan, launch.rank);
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
  cuda::launch_graphs(fabric).launch(
      context, launch.rank, {kernel, plan.tiling.blocks, kernel.threads, &params, sizeof(params)});
}

}  // namespace

void direct_preload(const fabric::Fabric& fabric) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::min}) {
      cuda::co_resident_blocks(fabric, cuda::direct_kernel(Motion::two_shot, dtype, op));
    }
  }
  cuda::co_resident_blocks(fabric, cuda::direct_kernel(Motion::all_gather, {}, {}));
}

std::int32_t direct_blocks(std::int64_t bytes, std::int32_t most) {
  const std::int64_t all =
      schedule::ceil_div(bytes, static_cast<std::int64_t>(kPack) * cuda::kDirectThreads);
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(all, 1, most));
}

Work direct_work(const fabric::Fabric& fabric, const Plan& plan, const MotionPlan& motion,
                 Rank rank) {
  return Work::make("direct", run, Launch{&fabric, &plan, motion, rank});
}

}  // namespace weft::collectives
