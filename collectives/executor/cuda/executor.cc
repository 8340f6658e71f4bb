// Which family of kernels runs a plan. Each is a folder neighbour: x.h says what it can serve.
#include "collectives/executor/cuda/executor.h"

#include <algorithm>
#include <cstdint>

#include "collectives/executor/cuda/lamport.h"
#include "collectives/executor/cuda/ll.h"
#include "collectives/executor/cuda/ring.h"
#include "collectives/executor/cuda/scratch.h"

namespace weft::collectives {
namespace {

// From this size on two hops of fewer bytes beat one hop, with three ranks and more (predicted; see
// the cost formulas of Thakur, Rabenseifner and Gropp 2005).
constexpr std::int64_t kLamportTwoShotBytes = 64 << 10;

std::int64_t vector_bytes(const Plan& plan) { return plan.out.elements * item_bytes(plan.dtype); }

bool lamport_in_two_shots(const fabric::ArenaLayout& layout, std::int64_t bytes) {
  return layout.world > 2 &&
         (bytes >= kLamportTwoShotBytes || bytes > cuda::lamport_capacity(layout));
}

std::string beyond(const char* region, std::int64_t bytes, std::int64_t capacity) {
  return concat("its ", region, " take", " vectors of up to ", capacity, " bytes, and this has ",
                bytes);
}

// Tiling of the families that share out a vector by themselves.
schedule::Tiling whole(std::int64_t elements, std::int32_t blocks) {
  schedule::Tiling tiling;
  tiling.elements = tiling.chunk_elements = tiling.piece_elements = elements;
  tiling.rounds = 1;
  tiling.blocks = blocks;
  return tiling;
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

}  // namespace

std::string cuda_refusal(const fabric::Fabric& fabric, const Request& request, const CallOptions&,
                         Algorithm algorithm) {
  const bool all_reduce = request.call.collective == Collective::all_reduce;
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  const std::int64_t bytes = request.first_input().bytes().value();
  if (all_reduce && algorithm == Algorithm::ring) return "";
  if (all_reduce && algorithm == Algorithm::ll) {
    const std::int64_t most = cuda::ll_capacity(layout);
    return bytes <= most ? "" : beyond("lines", bytes, most);
  }
  if (all_reduce && algorithm == Algorithm::lamport) {
    const std::int64_t most =
        std::max(cuda::lamport_capacity(layout),
                 layout.world > 2 ? cuda::lamport_two_shot_capacity(layout) : 0);
    return bytes <= most ? "" : beyond("words", bytes, most);
  }
  return "it has no CUDA kernel yet";
}

schedule::Tiling cuda_tiling(const fabric::Fabric& fabric, const Plan& plan,
                             const schedule::Extent& extent, std::int32_t max_blocks) {
  const std::int64_t item = item_bytes(plan.dtype);
  const std::int64_t bytes = vector_bytes(plan);
  if (plan.world.value() == 1) return whole(extent.elements, 1);
  if (plan.algorithm == Algorithm::ll) {
    return whole(extent.elements, cuda::ll_blocks(fabric, plan.dtype, plan.op, bytes, max_blocks));
  }
  if (plan.algorithm == Algorithm::lamport) {
    const bool two = lamport_in_two_shots(fabric.arena(Rank(0)).layout, bytes);
    const auto blocks = two ? cuda::lamport_two_shot_blocks : cuda::lamport_blocks;
    return whole(extent.elements, blocks(fabric, plan.dtype, plan.op, bytes, max_blocks));
  }
  return schedule::cut_chunks(extent.elements, extent.chunk_elements, item,
                              cuda::ring_limits(fabric, max_blocks));
}

void cuda_preload(const fabric::Fabric& fabric) {
  cuda::ring_preload(fabric);
  if (fabric.world().value() == 1) return;
  cuda::ll_preload(fabric);
  cuda::lamport_preload(fabric);
}

Work cuda_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  if (plan.world.value() == 1) {
    const bool moves = !plan.program(rank).empty() && plan.inputs[0] != plan.outputs[0];
    if (!moves) return {};
    return Work::make("copy", copy,
                      Copy{plan.outputs[0], plan.inputs[0], Bytes(vector_bytes(plan))});
  }
  if (plan.algorithm == Algorithm::ll) return cuda::ll_work(fabric, plan, rank);
  if (plan.algorithm == Algorithm::lamport) {
    const bool two = lamport_in_two_shots(fabric.arena(Rank(0)).layout, vector_bytes(plan));
    return (two ? cuda::lamport_two_shot_work : cuda::lamport_work)(fabric, plan, rank);
  }
  return cuda::ring_work(fabric, plan, rank);
}

}  // namespace weft::collectives
