// From a checked request to running works: choose, stage, cut, prepare, launch.
#include "collectives/plan.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/sim/executor.h"
#include "collectives/request.h"
#include "collectives/schedule/ring.h"
#include "core/base/error.h"
#include "core/ops/copy.h"

namespace weft::collectives {
namespace {

// Bytes per second between ranks of one device, for predictions.
constexpr double kLocalRate = 2e12;
constexpr std::size_t kPredictions = 16;  // sizes remembered

// Schedules are made once a world size and kept for ever.
const schedule::Schedule& ring_schedule(WorldSize world) {
  static std::array<std::once_flag, kMaxRanks + 1> made;
  static auto& schedules = *new std::array<schedule::Schedule, kMaxRanks + 1>();
  const auto n = static_cast<std::size_t>(world.value());
  std::call_once(made[n], [&] { schedules[n] = schedule::ring::materialise(world); });
  return schedules[n];
}

// The tensor itself, or a contiguous, aligned copy on the same device where the executors need one.
bool needs_staging(const Tensor& tensor) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data());
  return !tensor.layout().is_contiguous() ||
         address % static_cast<std::uintptr_t>(item_bytes(tensor.dtype())) != 0;
}

// Blocks until what is on the user's streams now has happened: staging copies run on streams of
// their own.
void settle(const fabric::Fabric& fabric, std::span<const Stream> streams) {
  for (std::size_t r = 0; r < streams.size(); ++r) {
    Device& device = fabric.device(Rank(static_cast<std::int32_t>(r)));
    const Event event = device.create_event();
    device.record(event, streams[r]);
    const bool idle = device.synchronize(event, Deadline::after_ns(fabric.timeout_ns()));
    device.destroy_event(event);
    if (!idle) fail(ErrorCode::collective_timeout, "rank ", r, "'s stream is still busy");
  }
}

struct Staged {
  std::vector<Tensor> inputs;  // empty: nothing is staged
  std::vector<Tensor> outputs;

  Staged(const fabric::Fabric& fabric, const Request& request, std::span<const Stream> streams) {
    const auto any = [](std::span<const Tensor> tensors) {
      return std::any_of(tensors.begin(), tensors.end(), needs_staging);
    };
    if (request.inputs.front().layout().elements() == 0) return;
    if (!any(request.inputs) && !any(request.outputs)) return;
    settle(fabric, streams);
    for (std::size_t r = 0; r < request.inputs.size(); ++r) {
      inputs.push_back(stage(request.inputs[r], true));
      outputs.push_back(stage(request.outputs[r], false));
    }
  }
  bool any() const { return !inputs.empty(); }

  static Tensor stage(const Tensor& tensor, bool fill) {
    if (!needs_staging(tensor)) return tensor;
    Tensor copy = Tensor::empty(tensor.layout().sizes(), tensor.dtype(), tensor.device());
    if (fill) copy_tensor(copy, tensor);
    return copy;
  }
  void write_back(const Request& request) const {
    for (std::size_t r = 0; r < outputs.size(); ++r) {
      if (needs_staging(request.outputs[r])) copy_tensor(request.outputs[r], outputs[r]);
    }
  }
};

void add_link_bytes(const void* params, std::span<std::int64_t> link_bytes) {
  const Plan& plan = *static_cast<const Plan*>(params);
  const schedule::Tiling& t = plan.tiling;
  const auto world = static_cast<std::size_t>(plan.world.value());
  for (std::size_t from = 0; from < world; ++from) {
    for (const schedule::Step& step : plan.schedule->programs[from]) {
      if (step.to == schedule::kNobody) continue;
      const std::int64_t begin = std::min(step.chunk.value() * t.chunk_elements, t.elements);
      const std::int64_t end = std::min(begin + t.chunk_elements, t.elements);
      link_bytes[from * world + static_cast<std::size_t>(step.to.value())] +=
          (end - begin) * item_bytes(plan.dtype);
    }
  }
}

// What the machine that a simulated fabric stands for would take.
std::int64_t predicted_ns(fabric::Fabric& fabric, const Plan& plan) {
  Session& s = session(fabric);
  const std::int64_t item = item_bytes(plan.dtype);
  const std::scoped_lock lock(s.mutex);
  for (const auto& known : s.predicted) {
    if (known.elements == plan.tiling.elements && known.item == item) return known.ns;
  }
  const schedule::Prediction prediction = schedule::predict(
      *plan.schedule, plan.tiling, item, fabric.topology(), s.device_of_rank, kLocalRate);
  const auto ns = static_cast<std::int64_t>(prediction.seconds * 1e9);
  if (s.predicted.size() == kPredictions) s.predicted.pop_back();
  s.predicted.insert(s.predicted.begin(), {plan.tiling.elements, item, ns});
  return ns;
}

schedule::TilingLimits limits_of(const fabric::Fabric& fabric, DType dtype,
                                 const CallOptions& options) {
  return fabric.backend() == DeviceKind::cuda ? cuda_ring_limits(fabric, dtype, options.max_blocks)
                                              : sim_limits();
}

FaultPoint planned_fault(fabric::Fabric& fabric) {
  const std::scoped_lock lock(session(fabric).mutex);
  return session(fabric).fault;
}

void fill_plan(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
               const Tensor& first, Plan& plan) {
  plan.collective = request.collective;
  plan.algorithm = Algorithm::ring;
  plan.op = request.op;
  plan.dtype = first.dtype();
  plan.world = fabric.world();
  plan.tiling = schedule::make_tiling(first.layout().elements(), item_bytes(plan.dtype), plan.world,
                                      limits_of(fabric, plan.dtype, options));
  plan.limits.timeout_ns = options.timeout_ns > 0 ? options.timeout_ns : fabric.timeout_ns();
  plan.limits.abort_flag = fabric.abort_flag();
  plan.fault = planned_fault(fabric);
  plan.schedule = &ring_schedule(plan.world);
}

void fill_info(fabric::Fabric& fabric, const Request& request, const Plan& plan, bool staged,
               fabric::OperationInfo& info) {
  info.kind = EventKind::all_reduce;
  info.kind_name = request.name;
  info.algorithm = name(plan.algorithm);
  info.path = staged ? "staged" : plan.world.value() == 1 ? "local" : "zero_copy";
  info.dtype = static_cast<std::uint8_t>(plan.dtype);
  info.op = static_cast<std::uint8_t>(plan.op);
  info.protocol = plan.world.value() > 1 ? 1 : 0;
  info.bytes = plan.tiling.elements * item_bytes(plan.dtype);
  info.blocks = plan.tiling.blocks;
  info.timeout_ns = plan.limits.timeout_ns;
  if (info.bytes == 0) return;
  info.add_link_bytes = add_link_bytes;
  if (fabric.backend() == DeviceKind::sim) info.predicted_ns = predicted_ns(fabric, plan);
}

// Fills the operation: plan, works, what must stay alive. May throw; nothing has been launched yet.
void prepare(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
             const Staged& staged, fabric::Operation& operation) {
  const std::span<const Tensor> inputs = staged.any() ? staged.inputs : request.inputs;
  const std::span<const Tensor> outputs = staged.any() ? staged.outputs : request.outputs;
  Plan& plan = operation.params<Plan>();
  fill_plan(fabric, request, options, inputs.front(), plan);
  plan.limits.operation = operation.id();
  fill_info(fabric, request, plan, staged.any(), operation.info());
  if (plan.tiling.elements == 0) return;
  for (std::size_t r = 0; r < inputs.size(); ++r) {
    plan.inputs[r] = inputs[r].data();
    plan.outputs[r] = outputs[r].data();
    operation.keep(inputs[r].storage());
    operation.keep(outputs[r].storage());
  }
  if (plan.world.value() == 1) {
    if (plan.inputs[0] == plan.outputs[0]) return;
    fabric.device(Rank(0)).copy(fabric.stream(Rank(0)), plan.outputs[0], plan.inputs[0],
                                inputs.front().bytes());
    return;
  }
  for (std::size_t r = 0; r < inputs.size(); ++r) {
    const Rank rank(static_cast<std::int32_t>(r));
    operation.works()[r] = fabric.backend() == DeviceKind::cuda ? cuda_ring_work(fabric, plan, rank)
                                                                : sim_work(fabric, plan, rank);
  }
}

}  // namespace

std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Request& request,
                                       const CallOptions& options) {
  validate(fabric, request, options);
  const Staged staged(fabric, request, options.streams);
  auto operation =
      fabric.launch([&](fabric::Operation& op) { prepare(fabric, request, options, staged, op); },
                    options.streams);
  if (staged.any()) {
    // Each device wait has its own deadline, so this ends.
    operation->wait_until(Deadline::never());
    if (!operation->error()) staged.write_back(request);
  }
  return operation;
}

}  // namespace weft::collectives
