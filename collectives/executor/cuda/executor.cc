// Which family of kernels runs a plan. Each is a folder neighbour: x.h says what it can serve.
#include "collectives/executor/cuda/executor.h"

#include <algorithm>
#include <cstdint>

#include "collectives/executor/cuda/bucket.h"
#include "collectives/executor/cuda/copy_engine.h"
#include "collectives/executor/cuda/direct.h"
#include "collectives/executor/cuda/lamport.h"
#include "collectives/executor/cuda/launch_graphs.h"
#include "collectives/executor/cuda/ll.h"
#include "collectives/executor/cuda/ll_move.h"
#include "collectives/executor/cuda/push_two_shot.h"
#include "collectives/executor/cuda/reach.h"
#include "collectives/executor/cuda/ring.h"
#include "collectives/executor/cuda/scratch.h"
#include "collectives/executor/cuda/steps.h"

namespace weft::collectives {
namespace {

// From this size on two hops of fewer bytes beat one hop, with three ranks and more (predicted; see
// the cost formulas of Thakur, Rabenseifner and Gropp 2005).
constexpr std::int64_t kLamportTwoShotBytes = 64 << 10;
// Blocks that measured best on 2 x H200: bench/results.
constexpr std::int32_t kDirectBlocks = 64;
constexpr std::int32_t kPushBlocks = 128;

// What a fabric's launches need.
struct Kept {
  CopyEngines engines;
  std::int32_t push_blocks;  // co-resident
  cuda::LaunchGraphs graphs;
  Reach reach{};
};

Kept& kept(const fabric::Fabric& fabric) { return *static_cast<Kept*>(session(fabric).cuda.get()); }

ScratchPart part(const cuda::Region& region) { return {region.offset, region.bytes}; }

// Copy engines use all of the scratch as slots.
LentScratch lent_scratch(const fabric::ArenaLayout& layout) {
  return {
      {0, layout.scratch_bytes}, part(cuda::ll_region(layout)), part(cuda::lamport_region(layout))};
}

std::int64_t vector_bytes(const Plan& plan) { return plan.elements * item_bytes(plan.dtype); }

bool lamport_in_two_shots(const fabric::ArenaLayout& layout, std::int64_t bytes) {
  return layout.world > 2 &&
         (bytes >= kLamportTwoShotBytes || bytes > cuda::lamport_capacity(layout));
}

std::int64_t lamport_most(const fabric::ArenaLayout& layout) {
  const std::int64_t two = layout.world > 2 ? cuda::lamport_two_shot_capacity(layout) : 0;
  return std::max(cuda::lamport_capacity(layout), two);
}

// Is it run step by step? So is what no other family was made for.
bool goes_by_steps(Collective collective, Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::halving_doubling:
    case Algorithm::hierarchical:
      return true;
    case Algorithm::one_shot:
      return kind_of(collective).reduces;
    case Algorithm::ring:
      return collective != Collective::all_reduce;
    default:
      return false;
  }
}

// The moves that run a plan without scratch.
MotionPlan motion_of(const Plan& plan) {
  switch (plan.collective) {
    case Collective::all_reduce:
      return {plan.algorithm == Algorithm::one_shot_pull ? Motion::one_shot : Motion::two_shot};
    case Collective::reduce:
      return {Motion::reduce, plan.root};
    case Collective::reduce_scatter:
      return {Motion::reduce_scatter};
    default:
      return {Motion::planned};
  }
}

// Tiling of the families that share out a vector by themselves.
schedule::Tiling whole(std::int64_t elements, std::int32_t blocks) {
  schedule::Tiling tiling;
  tiling.elements = tiling.chunk_elements = tiling.piece_elements = elements;
  tiling.rounds = 1;
  tiling.blocks = blocks;
  return tiling;
}

schedule::Tiling direct_tiling(const fabric::Fabric& fabric, const Plan& plan,
                               const schedule::Extent& extent, std::int32_t max_blocks) {
  const MotionPlan motion = motion_of(plan);
  const cuda::Kernel kernel = cuda::direct_kernel(motion.motion, plan.dtype, plan.op);
  const std::int32_t wanted = max_blocks > 0 ? max_blocks : kDirectBlocks;
  const std::int32_t most = std::min(wanted, cuda::co_resident_blocks(fabric, kernel));
  const bool parts = motion.motion == Motion::reduce_scatter;
  return whole(parts ? extent.chunk_elements : extent.elements,
               direct_blocks(vector_bytes(plan), most));
}

bool is_captured(const fabric::Fabric& fabric, const CallOptions& options) {
  for (std::size_t r = 0; r < options.streams.size(); ++r) {
    if (fabric.device(Rank(static_cast<int>(r))).is_capturing(options.streams[r])) return true;
  }
  return false;
}

bool unaligned(const Request& request) {
  std::uintptr_t addresses = 0;
  for (const Tensor& tensor : request.inputs) {
    addresses |= reinterpret_cast<std::uintptr_t>(tensor.data());
  }
  for (const Tensor& tensor : request.outputs) {
    addresses |= reinterpret_cast<std::uintptr_t>(tensor.data());
  }
  return addresses % cuda::kPushAlign != 0;
}

// Bytes that a rank gives to another, at most.
std::int64_t largest_piece(const Request& request) {
  std::int64_t most = 0;
  for (std::size_t r = 0; r < request.inputs.size(); ++r) {
    if (request.has_input(r)) most = std::max(most, request.inputs[r].bytes().value());
  }
  const Shapes shapes = request.kind().shapes;
  const bool even = request.call.splits.empty();
  if (shapes == Shapes::same || shapes == Shapes::joined || !even) return most;
  return most / static_cast<std::int64_t>(request.inputs.size());
}

std::string too_long(std::int64_t bytes, std::int64_t most) {
  if (bytes <= most) return "";
  return concat("its part of the scratch takes vectors of up to ", most, " bytes, not ", bytes);
}

std::string too_little(std::int64_t bytes, std::int64_t least) {
  if (bytes >= least) return "";
  return concat("it needs ", least, " bytes of scratch a rank, and there are ", bytes);
}

// One rank alone: its vector, moved if it is to be elsewhere.
struct Copy {
  void* to;
  const void* from;
  Bytes bytes;
};

void copy(const WorkContext& context, const void* params) {
  const Copy& c = *static_cast<const Copy*>(params);
  context.device->copy({context.native_stream}, c.to, c.from, c.bytes);
}

Work alone(const Plan& plan) {
  const bool moves = !plan.program(Rank(0)).empty() && plan.inputs[0] != plan.outputs[0];
  if (!moves) return {};
  return Work::make("copy", copy, Copy{plan.outputs[0], plan.inputs[0], Bytes(vector_bytes(plan))});
}

// Do the ranks read or write each other's tensors, where these lie?
bool visits_peers(Algorithm algorithm) {
  return algorithm != Algorithm::ll && algorithm != Algorithm::lamport &&
         algorithm != Algorithm::copy_engine;
}

}  // namespace

std::string cuda_refusal(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
                         const Selection& selection) {
  const Algorithm algorithm = selection.algorithm;
  if (request.bucket) {
    return kept(fabric).reach.problem(fabric, *request.bucket).value_or("");
  }
  if (visits_peers(algorithm)) {
    if (const auto problem = kept(fabric).reach.problem(fabric, request)) return *problem;
  }
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  const std::int64_t bytes = request.first_input().bytes().value();
  const bool all_reduce = request.call.collective == Collective::all_reduce;
  if (goes_by_steps(request.call.collective, algorithm)) {
    return steps_problem(fabric, *selection.schedule);
  }
  switch (algorithm) {
    case Algorithm::ll:
      return too_long(largest_piece(request), cuda::ll_capacity(layout));
    case Algorithm::lamport:
      return too_long(bytes, lamport_most(layout));
    case Algorithm::push_two_shot:
      if (unaligned(request)) return "it needs tensors at multiples of 16 bytes";
      return too_little(cuda::slots_region(layout).bytes, push_two_shot_least(fabric.world()));
    case Algorithm::copy_engine:
      if (is_captured(fabric, options)) {
        return "it orders devices by events, which the captures of single streams cannot hold";
      }
      if (!all_reduce) return "";
      return too_little(layout.scratch_bytes, copy_engine_least(fabric.world()));
    default:
      return "";
  }
}

schedule::Tiling cuda_tiling(fabric::Fabric& fabric, const Plan& plan,
                             const schedule::Extent& extent, std::int32_t max_blocks) {
  const std::int64_t item = item_bytes(plan.dtype);
  const std::int64_t bytes = vector_bytes(plan);
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  if (plan.world.value() == 1 || bytes == 0) return whole(extent.elements, 1);
  if (plan.bucket) return whole(extent.elements, bucket_blocks(fabric, plan, max_blocks));
  if (goes_by_steps(plan.collective, plan.algorithm)) {
    return steps_tiling(fabric, plan, extent, max_blocks);
  }
  switch (plan.algorithm) {
    case Algorithm::ll:
      if (plan.collective != Collective::all_reduce) {
        return whole(extent.chunk_elements,
                     cuda::ll_move_blocks(fabric, extent.chunk_elements * item, max_blocks));
      }
      return whole(extent.elements,
                   cuda::ll_blocks(fabric, plan.dtype, plan.op, bytes, max_blocks));
    case Algorithm::lamport: {
      const auto blocks = lamport_in_two_shots(layout, bytes) ? cuda::lamport_two_shot_blocks
                                                              : cuda::lamport_blocks;
      return whole(extent.elements, blocks(fabric, plan.dtype, plan.op, bytes, max_blocks));
    }
    case Algorithm::push_two_shot: {
      const std::int32_t wanted = max_blocks > 0 ? max_blocks : kPushBlocks;
      return push_two_shot_tiling(plan, part(cuda::slots_region(layout)),
                                  std::min(wanted, kept(fabric).push_blocks));
    }
    case Algorithm::copy_engine:
      return whole(extent.elements, 1);
    case Algorithm::ring:
      return schedule::cut_chunks(extent.elements, extent.chunk_elements, item,
                                  cuda::ring_limits(fabric, max_blocks));
    default:
      return direct_tiling(fabric, plan, extent, max_blocks);
  }
}

std::shared_ptr<void> cuda_open(const fabric::Fabric& fabric) {
  cuda::ring_preload(fabric);
  if (fabric.world().value() == 1) return nullptr;
  cuda::ll_preload(fabric);
  cuda::ll_move_preload(fabric);
  cuda::lamport_preload(fabric);
  direct_preload(fabric);
  bucket_preload(fabric);
  steps_preload(fabric);
  copy_engine_preload(fabric);
  return std::shared_ptr<Kept>(
      new Kept{CopyEngines(fabric), push_two_shot_preload(fabric), cuda::LaunchGraphs(fabric)});
}

Work cuda_work(fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  if (plan.world.value() == 1) return plan.bucket ? bucket_copies(plan) : alone(plan);
  kept(fabric).graphs.prepare();
  if (plan.bucket) return bucket_work(fabric, plan, rank);
  if (goes_by_steps(plan.collective, plan.algorithm)) return steps_work(fabric, plan, rank);
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  const bool all_reduce = plan.collective == Collective::all_reduce;
  switch (plan.algorithm) {
    case Algorithm::ll:
      return (all_reduce ? cuda::ll_work : cuda::ll_move_work)(fabric, plan, rank);
    case Algorithm::lamport: {
      const bool two = lamport_in_two_shots(layout, vector_bytes(plan));
      return (two ? cuda::lamport_two_shot_work : cuda::lamport_work)(fabric, plan, rank);
    }
    case Algorithm::push_two_shot:
      return push_two_shot_work(fabric, plan, part(cuda::slots_region(layout)), rank);
    case Algorithm::copy_engine:
      if (!all_reduce) {
        return copy_engine_move_work(kept(fabric).engines, plan, {Motion::planned}, rank);
      }
      return copy_engine_work(kept(fabric).engines, plan, lent_scratch(layout), rank);
    case Algorithm::ring:
      return cuda::ring_work(fabric, plan, rank);
    default:
      return direct_work(fabric, plan, motion_of(plan), rank);
  }
}

cuda::LaunchGraphs& cuda::launch_graphs(const fabric::Fabric& fabric) {
  return kept(fabric).graphs;
}

}  // namespace weft::collectives
