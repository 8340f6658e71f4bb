#include "bench/cuda/flagged_rig.h"

#include <algorithm>
#include <utility>

#include "collectives/collectives.h"
#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/lamport.h"
#include "collectives/executor/cuda/launch_graphs.h"
#include "collectives/executor/cuda/ll.h"
#include "collectives/executor/cuda/ring.h"
#include "collectives/executor/cuda/scratch.h"
#include "topology/probe/probe.h"

namespace weft::bench {

using collectives::Plan;
namespace cuda = collectives::cuda;

const char* name(Family family) {
  constexpr const char* kNames[] = {"ll", "lamport", "two_shot", "ring"};
  return kNames[static_cast<std::size_t>(family)];
}

Rig::Rig(const RigOptions& options) : options_(options) {
  fabric::FabricOptions o;
  for (int r = 0; r < options.ranks; ++r) {
    o.devices.push_back(&device({DeviceKind::cuda, DeviceOrdinal(r % options.devices)}));
  }
  o.topology = topology::probe();
  o.timeout_seconds = options.timeout;
  o.scratch = Bytes(options.scratch);
  o.first_epoch = options.first_epoch;
  fabric_ = collectives::open(std::move(o));
  const Bytes bytes(static_cast<std::int64_t>(options.bytes));
  for (int r = 0; r < options.ranks; ++r) {
    inputs_.push_back(static_cast<std::byte*>(fabric_->device(Rank(r)).allocate(bytes)));
    outputs_.push_back(static_cast<std::byte*>(fabric_->device(Rank(r)).allocate(bytes)));
  }
}

Rig::~Rig() {
  fabric_->close();
  for (int r = 0; r < options_.ranks; ++r) {
    fabric_->device(Rank(r)).deallocate(input(r));
    fabric_->device(Rank(r)).deallocate(output(r));
  }
}

std::vector<cudaStream_t> Rig::streams() const {
  std::vector<cudaStream_t> result;
  for (int r = 0; r < options_.ranks; ++r) {
    result.push_back(static_cast<cudaStream_t>(fabric_->stream(Rank(r)).handle));
  }
  return result;
}

bool Rig::serves(const Call& call) const {
  const fabric::ArenaLayout& layout = fabric_->arena(Rank(0)).layout;
  const std::int64_t bytes = call.elements * item_bytes(call.dtype);
  if (call.family == Family::ring) return true;
  if (call.family == Family::ll) return bytes <= cuda::ll_capacity(layout);
  return cuda::lamport_serves(call.dtype) &&
         bytes <= (call.family == Family::lamport ? cuda::lamport_capacity(layout)
                                                  : cuda::lamport_two_shot_capacity(layout));
}

std::int32_t Rig::blocks_for(const Call& call, std::int64_t bytes) const {
  const auto [advise, kernel] = [&] {
    switch (call.family) {
      case Family::ll:
        return std::pair(&cuda::ll_blocks, &cuda::ll_kernel);
      case Family::lamport:
        return std::pair(&cuda::lamport_blocks, &cuda::lamport_kernel);
      default:
        break;
    }
    return std::pair(&cuda::lamport_two_shot_blocks, &cuda::lamport_two_shot_kernel);
  }();
  if (call.blocks == 0) return advise(*fabric_, call.dtype, call.op, bytes, 0);
  return std::min(call.blocks, cuda::co_resident_blocks(*fabric_, kernel(call.dtype, call.op)));
}

Plan Rig::plan(const Call& call) const {
  const std::int64_t item = item_bytes(call.dtype);
  const std::int64_t bytes = call.elements * item;
  Plan plan;
  plan.op = call.op;
  plan.dtype = call.dtype;
  plan.world = fabric_->world();
  if (call.family == Family::ring) {
    plan.tiling = schedule::make_tiling(call.elements, item, plan.world,
                                        cuda::ring_limits(*fabric_, call.blocks));
  } else {
    plan.tiling.elements = call.elements;
    plan.tiling.blocks = blocks_for(call, bytes);
  }
  plan.limits = {fabric_->timeout_ns(), fabric_->abort_flag(), 0};
  plan.fault = call.fault;
  for (std::size_t r = 0; r < inputs_.size(); ++r) {
    plan.outputs[r] = outputs_[r] + call.out_offset * item;
    plan.inputs[r] = call.in_place ? plan.outputs[r] : inputs_[r] + call.in_offset * item;
  }
  return plan;
}

std::shared_ptr<fabric::Operation> Rig::start(const Call& call) {
  const Plan made = plan(call);
  return fabric_->launch([&](fabric::Operation& operation) {
    cuda::launch_graphs(*fabric_).prepare();
    Plan& kept = operation.params<Plan>();
    kept = made;
    kept.limits.operation = operation.id();
    operation.info().kind_name = "all_reduce";
    operation.info().timeout_ns = kept.limits.timeout_ns;
    for (int r = 0; r < options_.ranks; ++r) {
      if (r == call.absent) continue;
      operation.works()[static_cast<std::size_t>(r)] =
          work_of(call.family, *fabric_, kept, Rank(r));
    }
  });
}

std::optional<Error> Rig::run(const Call& call) {
  const auto operation = start(call);
  if (!operation->wait_until(Deadline::after_ns(60'000'000'000))) {
    return Error(ErrorCode::internal, "the operation did not end");
  }
  return operation->error();
}

void Rig::enqueue(Family family, const Plan& plan) {
  for (int r = 0; r < options_.ranks; ++r) {
    fabric_->device(Rank(r)).submit(fabric_->stream(Rank(r)),
                                    work_of(family, *fabric_, plan, Rank(r)));
  }
}

Work work_of(Family family, const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  switch (family) {
    case Family::ll:
      return cuda::ll_work(fabric, plan, rank);
    case Family::lamport:
      return cuda::lamport_work(fabric, plan, rank);
    case Family::two_shot:
      return cuda::lamport_two_shot_work(fabric, plan, rank);
    case Family::ring:
      return cuda::ring_work(fabric, plan, rank);
  }
  fail(ErrorCode::internal, "no such family");
}

}  // namespace weft::bench
