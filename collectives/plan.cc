// From a checked request to running works: choose, stage, cut, prepare, launch.
#include "collectives/plan.h"

#include <algorithm>
#include <mutex>

#include "collectives/chunks.h"
#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/sim/executor.h"
#include "collectives/request.h"
#include "core/base/error.h"
#include "core/ops/copy.h"

namespace weft::collectives {
namespace {

constexpr std::size_t kPredictions = 16;  // sizes remembered

// The tensor itself, or a contiguous, aligned copy on the same device where the executors need one.
bool needs_staging(const Tensor& tensor) {
  if (!tensor.defined()) return false;
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

[[noreturn]] void refuse_recording(const Request& request) {
  fail(ErrorCode::invalid_argument, request.name(),
       ": tensors that are not contiguous are copied by the host, which a graph cannot");
}

struct Staged {
  std::vector<Tensor> inputs;  // empty: nothing is staged
  std::vector<Tensor> outputs;
  std::int32_t tensors = 0;  // that are copied; one in place is, before and after
  std::int64_t bytes = 0;

  Staged(fabric::Fabric& fabric, const Request& request, std::span<const Stream> streams) {
    const auto empty = [](const Tensor& tensor) {
      return !tensor.defined() || tensor.layout().elements() == 0;
    };
    if (std::all_of(request.inputs.begin(), request.inputs.end(), empty)) return;
    if (!is_needed(request)) return;
    if (fabric.capturing() || fabric.are_capturing(streams)) refuse_recording(request);
    settle(fabric, streams);
    for (std::size_t r = 0; r < request.inputs.size(); ++r) {
      const bool given = stages_input(request, r);
      const bool got = stages_output(request, r);
      inputs.push_back(given ? stage(fabric, request.inputs[r], r, true) : request.inputs[r]);
      outputs.push_back(got ? stage(fabric, request.outputs[r], r, false) : request.outputs[r]);
    }
  }
  bool any() const { return !inputs.empty(); }

  // What a collective does not look at is not copied, and above all not written back.
  static bool stages_input(const Request& request, std::size_t r) {
    return request.has_input(r) && needs_staging(request.inputs[r]);
  }
  static bool stages_output(const Request& request, std::size_t r) {
    return request.has_output(r) && needs_staging(request.outputs[r]);
  }
  static bool is_needed(const Request& request) {
    for (std::size_t r = 0; r < request.inputs.size(); ++r) {
      if (stages_input(request, r) || stages_output(request, r)) return true;
    }
    return false;
  }

  Tensor stage(fabric::Fabric& fabric, const Tensor& tensor, std::size_t i, bool fill) {
    ++tensors;
    bytes += tensor.layout().elements() * item_bytes(tensor.dtype());
    Tensor copy = Tensor::empty(tensor.layout().sizes(), tensor.dtype(), tensor.device());
    if (fill) copy_and_record(fabric, copy, tensor, i);
    return copy;
  }
  void write_back(fabric::Fabric& fabric, const Request& request) const {
    for (std::size_t r = 0; r < outputs.size(); ++r) {
      if (!stages_output(request, r)) continue;
      copy_and_record(fabric, request.outputs[r], outputs[r], r);
    }
  }
  // Of a bucket the tensors of a place follow each other, one a rank.
  static void copy_and_record(fabric::Fabric& fabric, const Tensor& to, const Tensor& from,
                              std::size_t i) {
    const std::int64_t begin = now_ns();
    copy_tensor(to, from);
    const auto rank = static_cast<std::int32_t>(i) % fabric.world().value();
    fabric.record_event({.kind = EventKind::copy,
                         .begin_ns = begin,
                         .rank = rank,
                         .bytes = to.bytes().value(),
                         .dtype = static_cast<std::uint8_t>(to.dtype()),
                         .path = "staged"});
  }
};

void add_link_bytes(const void* params, std::span<std::int64_t> link_bytes) {
  const Plan& plan = *static_cast<const Plan*>(params);
  const auto world = static_cast<std::size_t>(plan.world.value());
  const auto add = [&](int from, int to, std::int64_t elements) {
    link_bytes[static_cast<std::size_t>(from) * world + static_cast<std::size_t>(to)] +=
        elements * item_bytes(plan.dtype);
  };
  for (std::int32_t rank = 0; rank < plan.world.value(); ++rank) {
    for (const schedule::Step& step : plan.program(Rank(rank))) {
      const std::int64_t size = source_range(plan, Rank(rank), step).size();
      if (step.target == schedule::Target::slot || step.target == schedule::Target::output) {
        add(rank, step.to.value(), size);
      }
      if (!step.pulls()) continue;
      for_each_source(plan.schedule->schedule, rank, step,
                      [&](int from) { add(from, rank, size); });
    }
  }
}

// What the machine that a simulated fabric stands for would take.
std::int64_t predicted_ns(fabric::Fabric& fabric, const Plan& plan) {
  Session& s = session(fabric);
  const std::int64_t item = item_bytes(plan.dtype);
  const std::scoped_lock lock(s.mutex);
  for (const auto& known : s.predicted) {
    if (known.schedule == plan.schedule && known.elements == plan.tiling.elements &&
        known.item == item) {
      return known.ns;
    }
  }
  const schedule::Prediction prediction = schedule::predict(
      plan.schedule->schedule, plan.tiling, item, fabric.topology(), s.device_of_rank, kLocalRate);
  const auto ns = static_cast<std::int64_t>(prediction.seconds * 1e9);
  if (s.predicted.size() == kPredictions) s.predicted.pop_back();
  s.predicted.insert(s.predicted.begin(), {plan.schedule, plan.tiling.elements, item, ns});
  return ns;
}

// What was asked for besides: a test's fault, a trace's records.
void add_wishes(fabric::Fabric& fabric, Plan& plan) {
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  plan.fault = s.fault;
  plan.chunks = s.tracing_chunks ? s.chunks.get() : nullptr;
}

// The chunks of all ranks' inputs and outputs. Uneven ones are listed in `table`.
void map_chunks(const Request& request, Plan& plan, std::vector<std::int64_t>& table) {
  const schedule::Schedule& schedule = plan.schedule->schedule;
  const std::int64_t n = plan.world.value();
  const std::int64_t in = request.input_elements();
  const std::int64_t out = request.output_elements();
  const auto map = [](std::int64_t elements, std::int64_t chunk, int chunks) {
    return schedule::ChunkMap{elements, chunk, nullptr, chunks};
  };
  std::int64_t chunk = std::min(in, out);
  if (request.kind().shapes == Shapes::exchanged) chunk = in / n;
  if (request.kind().shapes == Shapes::same && schedule.inputs() > 1) {
    chunk = schedule::aligned_chunk(in, item_bytes(plan.dtype), schedule.inputs());
  }
  plan.in = map(in, chunk, schedule.inputs());
  plan.out = map(out, chunk, schedule.outputs());
  if (request.call.splits.empty()) return;
  const auto world = static_cast<std::size_t>(n);
  table.assign(2 * world * (world + 1), 0);
  const auto sizes = request.first_input().layout().sizes();
  std::int64_t row = 1;  // elements of an index of dimension 0
  for (std::size_t d = 1; d < sizes.size(); ++d) row *= sizes[d];
  std::int64_t* ins = table.data();
  std::int64_t* outs = ins + world * (world + 1);
  for (std::size_t r = 0; r < world; ++r) {
    for (std::size_t c = 0; c < world; ++c) {
      const std::size_t at = r * (world + 1) + c;
      ins[at + 1] = ins[at] + request.call.splits[r * world + c] * row;
      outs[at + 1] = outs[at] + request.call.splits[c * world + r] * row;
    }
  }
  plan.in.begins = ins;
  plan.out.begins = outs;
}

std::int64_t largest_chunk(const Plan& plan) {
  if (!plan.in.begins) return plan.in.chunk_elements;
  std::int64_t largest = 0;
  for (int r = 0; r < plan.world.value(); ++r) {
    for (int c = 0; c < plan.in.chunks; ++c)
      largest = std::max(largest, plan.in.chunk(r, c).size());
  }
  return largest;
}

std::int64_t longest_vector(const Plan& plan) {
  if (!plan.in.begins) return std::max(plan.in.elements, plan.out.elements);
  std::int64_t longest = 0;
  for (int r = 0; r < plan.world.value(); ++r) {
    longest = std::max({longest, plan.in.chunk(r, plan.in.chunks - 1).end,
                        plan.out.chunk(r, plan.out.chunks - 1).end});
  }
  return longest;
}

Protocol protocol_of(const fabric::Fabric& fabric, const Plan& plan) {
  if (plan.world.value() == 1) return Protocol::none;
  if (fabric.backend() == DeviceKind::cuda) {
    if (plan.algorithm == Algorithm::ll) return Protocol::ll;
    if (plan.algorithm == Algorithm::lamport) return Protocol::lamport;
    if (plan.algorithm == Algorithm::copy_engine) return Protocol::events;
  }
  return plan.schedule->slot_lanes > 0 || plan.algorithm == Algorithm::ring ? Protocol::chunk_flags
                                                                            : Protocol::tokens;
}

void fill_plan(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
               const Selection& selected, fabric::Operation& operation, Plan& plan) {
  plan.collective = request.call.collective;
  plan.algorithm = selected.algorithm;
  plan.schedule = selected.schedule;
  plan.op = request.call.op;
  plan.root = request.call.root;
  plan.dtype = request.dtype();
  plan.bucket = request.bucket.get();
  plan.world = fabric.world();
  plan.protocol = protocol_of(fabric, plan);
  map_chunks(request, plan, operation.table());
  plan.elements = longest_vector(plan);
  const schedule::Extent extent{plan.elements, largest_chunk(plan)};
  const std::int32_t blocks = options.max_blocks > 0 ? options.max_blocks : selected.blocks;
  plan.tiling = fabric.backend() == DeviceKind::cuda ? cuda_tiling(fabric, plan, extent, blocks)
                                                     : sim_tiling(fabric, plan, extent);
  plan.limits.timeout_ns = options.timeout_ns > 0 ? options.timeout_ns : fabric.timeout_ns();
  plan.limits.abort_flag = fabric.abort_flag();
  add_wishes(fabric, plan);
}

void fill_info(fabric::Fabric& fabric, const Request& request, const Plan& plan,
               const Staged& staged, fabric::OperationInfo& info) {
  info.kind = request.kind().event;
  info.kind_name = request.name();
  info.algorithm = name(plan.algorithm);
  info.path = staged.any() ? "staged" : plan.world.value() == 1 ? "local" : "zero_copy";
  info.dtype = static_cast<std::uint8_t>(plan.dtype);
  if (request.kind().reduces) info.op = static_cast<std::uint8_t>(plan.op);
  info.protocol = static_cast<std::uint8_t>(plan.protocol);
  info.bytes = plan.elements * item_bytes(plan.dtype);
  info.joint = fabric.backend() == DeviceKind::cuda && plan.algorithm == Algorithm::copy_engine;
  info.blocks = plan.tiling.blocks;
  info.timeout_ns = plan.limits.timeout_ns;
  info.staged_tensors = staged.tensors;
  info.staged_bytes = staged.bytes;
  if (info.bytes == 0) return;
  info.add_link_bytes = add_link_bytes;
  if (fabric.backend() == DeviceKind::sim) info.predicted_ns = predicted_ns(fabric, plan);
}

// Fills the operation: plan, works, what must stay alive. May throw; nothing has been launched yet.
void prepare(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
             const Selection& selected, const Staged& staged, fabric::Operation& operation) {
  // A capture may have begun since the tensors were staged.
  if (staged.any() && operation.is_recorded()) refuse_recording(request);
  operation.set_arrivals(options.arrivals);
  Plan& plan = operation.params<Plan>();
  fill_plan(fabric, request, options, selected, operation, plan);
  plan.limits.operation = operation.id();
  fill_info(fabric, request, plan, staged, operation.info());
  if (plan.elements == 0) return;
  if (fabric.backend() == DeviceKind::sim) predict_chunks(fabric, plan);
  if (request.bucket) operation.keep(request.bucket);
  for (std::size_t r = 0; !request.bucket && r < request.inputs.size(); ++r) {
    if (request.has_input(r)) {
      plan.inputs[r] = request.inputs[r].data();
      operation.keep(request.inputs[r].storage());
    }
    if (request.has_output(r)) {
      plan.outputs[r] = request.outputs[r].data();
      operation.keep(request.outputs[r].storage());
    }
  }
  for (std::size_t r = 0; r < operation.works().size(); ++r) {
    const Rank rank(static_cast<std::int32_t>(r));
    operation.works()[r] = fabric.backend() == DeviceKind::cuda ? cuda_work(fabric, plan, rank)
                                                                : sim_work(fabric, plan, rank);
  }
  if (plan.bucket) operation.keep_in_captures(plan.bucket->table);
}

// Waits for an operation on staged tensors. Where that is interrupted, or a rank does not leave it,
// the outputs stay as they are, and who waits for the operation hears why.
void write_back(fabric::Fabric& fabric, const Request& request, const Staged& staged,
                const CallOptions& options, fabric::Operation& operation) {
  // The user's streams were idle, so that only the fabric's own operations are ahead of it.
  if (!operation.wait(Deadline::never(), options.interrupted)) {
    fabric.abort(options.interrupted() ? "interrupted while waiting"
                                       : "ranks did not leave an operation after a fault");
    if (!operation.wait_until(Deadline::after_ns(fabric::kLeaveGrace))) return;
  }
  if (!operation.error()) staged.write_back(fabric, request);
}

// A request that has been checked.
std::shared_ptr<fabric::Operation> start(fabric::Fabric& fabric, const Request& request,
                                         const CallOptions& options) {
  const Staged staged(fabric, request, options.streams);
  Request placed = request;
  if (staged.any()) {
    placed.inputs = staged.inputs;
    placed.outputs = staged.outputs;
    if (request.bucket) {
      placed.bucket = std::make_shared<Bucket>(fabric.world(), staged.inputs, staged.outputs);
    }
  }
  const Selection selected = select(fabric, placed, options);
  auto operation = fabric.launch(
      [&](fabric::Operation& op) { prepare(fabric, placed, options, selected, staged, op); },
      options.streams);
  if (staged.any()) write_back(fabric, request, staged, options, *operation);
  return operation;
}

}  // namespace

std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Call& call,
                                       std::span<const Tensor> inputs,
                                       std::span<const Tensor> outputs,
                                       const CallOptions& options) {
  const Request request{call, inputs, outputs};
  validate(fabric, request, options);
  return start(fabric, request, options);
}

std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Call& call,
                                       std::shared_ptr<Bucket> bucket, const CallOptions& options) {
  if (call.collective != Collective::all_reduce) {
    fail(ErrorCode::invalid_argument, name(call.collective),
         ": buckets (a list of tensors a rank) are for all_reduce");
  }
  const std::span<const Tensor> inputs = bucket->inputs();
  const std::span<const Tensor> outputs = bucket->outputs();
  const Request request{call, inputs, outputs, std::move(bucket)};
  validate_options(fabric, request, options);
  return start(fabric, request, options);
}

}  // namespace weft::collectives
