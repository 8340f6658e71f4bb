// All-reduce: what is particular to it. The rest is in plan.cc.
#include "collectives/request.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

// What one rank brings to the rendezvous.
struct Arrival {
  const Tensor* input;
  const Tensor* output;
  ReduceOp op;
  const CallOptions* options;
};

void check_agreement(const Arrival& first, const Arrival& other, int rank) {
  const auto differ = [&](const char* what, const auto& a, const auto& b) {
    throw Error(
        ErrorCode::invalid_argument,
        concat("all_reduce: rank ", rank, " calls with ", what, " ", b, ", rank 0 with ", a),
        {.rank = rank});
  };
  const CallOptions& a = *first.options;
  const CallOptions& b = *other.options;
  if (first.op != other.op) differ("op", name(first.op), name(other.op));
  if (a.algorithm != b.algorithm) differ("algorithm", name(a.algorithm), name(b.algorithm));
  if (a.max_blocks != b.max_blocks) differ("max_blocks", a.max_blocks, b.max_blocks);
  if (a.timeout_ns != b.timeout_ns) differ("timeout (ns)", a.timeout_ns, b.timeout_ns);
}

std::shared_ptr<fabric::Operation> launch_arrivals(fabric::Fabric& fabric,
                                                   const std::vector<const void*>& arrivals) {
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  std::vector<Stream> streams;
  const auto& first = *static_cast<const Arrival*>(arrivals.front());
  for (std::size_t r = 0; r < arrivals.size(); ++r) {
    const auto& arrival = *static_cast<const Arrival*>(arrivals[r]);
    check_agreement(first, arrival, static_cast<int>(r));
    inputs.push_back(*arrival.input);
    outputs.push_back(*arrival.output);
    for (const Stream stream : arrival.options->streams) streams.push_back(stream);
  }
  CallOptions options = *first.options;
  options.streams = streams;
  return all_reduce(fabric, inputs, outputs, first.op, options);
}

}  // namespace

std::shared_ptr<fabric::Operation> all_reduce(fabric::Fabric& fabric,
                                              std::span<const Tensor> inputs,
                                              std::span<const Tensor> outputs, ReduceOp op,
                                              const CallOptions& options) {
  Request request;
  request.collective = Collective::all_reduce;
  request.name = "all_reduce";
  request.op = op;
  request.inputs = inputs;
  request.outputs = outputs;
  return run(fabric, request, options);
}

std::shared_ptr<fabric::Operation> all_reduce(fabric::Fabric& fabric, Rank rank,
                                              const Tensor& input, const Tensor& output,
                                              ReduceOp op, const CallOptions& options,
                                              const Interrupted& interrupted) {
  const Arrival arrival{&input, &output, op, &options};
  const std::int64_t timeout = options.timeout_ns > 0 ? options.timeout_ns : fabric.timeout_ns();
  const auto launch = [&](const std::vector<const void*>& arrivals) {
    return launch_arrivals(fabric, arrivals);
  };
  return fabric.meet({rank, "all_reduce", &arrival, Deadline::after_ns(timeout)}, launch,
                     interrupted);
}

}  // namespace weft::collectives
