#include "collectives/executor/cuda/flagged.h"

#include "collectives/executor/cuda/executor.h"

namespace weft::collectives::cuda {

std::int64_t vector_bytes(const Plan& plan) {
  return plan.tiling.elements * item_bytes(plan.dtype);
}

FlaggedParams flagged_params(const FlaggedCall& call, FlaggedFamily family, const Region& region,
                             std::int64_t parts) {
  const fabric::Fabric& fabric = *call.fabric;
  const Plan& plan = *call.plan;
  const auto index = static_cast<std::size_t>(call.rank.value());
  const fabric::Arena& arena = fabric.arena(call.rank);
  FlaggedParams params;
  params.input = static_cast<const std::byte*>(plan.inputs[index]);
  params.output = static_cast<std::byte*>(plan.outputs[index]);
  for (int r = 0; r < plan.world.value(); ++r) {
    params.regions[r] = fabric.arena(Rank(r)).scratch() + region.offset;
  }
  params.epochs = arena.epochs(static_cast<int>(family));
  params.records = fabric.fault_record(call.rank, 0);
  params.limits = plan.limits;
  params.fault = plan.fault;
  params.bytes = vector_bytes(plan);
  params.parity_lines = parity_lines(region);
  params.source_lines = lines_of_source(arena.layout, region, parts);
  params.blocks = arena.layout.blocks;
  params.rank = call.rank.value();
  params.world = plan.world.value();
  return params;
}

}  // namespace weft::collectives::cuda

namespace weft::collectives {

void cuda_prepare_scratch(fabric::Fabric& fabric) {
  using namespace cuda;
  for (int r = 0; r < fabric.world().value(); ++r) {
    const fabric::Arena& arena = fabric.arena(Rank(r));
    const fabric::ArenaLayout& layout = arena.layout;
    Device& device = fabric.device(Rank(r));
    const Stream stream = fabric.stream(Rank(r));
    const Region ll = ll_region(layout);
    const Region lamport = lamport_region(layout);
    device.fill(stream, arena.scratch() + ll.offset, 0, Bytes(ll.bytes));
    device.fill(stream, arena.scratch() + lamport.offset, 0xff, Bytes(lamport.bytes));
  }
}

}  // namespace weft::collectives
