// Collectives that every rank calls from its own thread: ranks meet, agree, and launch as one.
#include <algorithm>
#include <vector>

#include "collectives/request.h"
#include "collectives/schedule/schedule.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

// What one rank brings to the rendezvous.
struct Arrival {
  const RankCall* call;
  const CallOptions* options;
  std::int64_t called_ns;
};

void check_agreement(const Arrival& first, const Arrival& other, int rank) {
  const char* collective = name(first.call->call.collective);
  const auto differ = [&](const char* what, const auto& a, const auto& b) {
    throw Error(
        ErrorCode::invalid_argument,
        concat(collective, ": rank ", rank, " calls with ", what, " ", b, ", rank 0 with ", a),
        {.rank = rank});
  };
  const CallOptions& a = *first.options;
  const CallOptions& b = *other.options;
  const Call& p = first.call->call;
  const Call& q = other.call->call;
  if (p.op != q.op) differ("op", name(p.op), name(q.op));
  if (p.root != q.root) differ("root", p.root, q.root);
  if (a.algorithm != b.algorithm) differ("algorithm", name(a.algorithm), name(b.algorithm));
  if (a.max_blocks != b.max_blocks) differ("max_blocks", a.max_blocks, b.max_blocks);
  if (a.group_size != b.group_size) differ("group_size", a.group_size, b.group_size);
  if (a.deterministic != b.deterministic) differ("deterministic", a.deterministic, b.deterministic);
  if (a.timeout_ns != b.timeout_ns) differ("timeout (ns)", a.timeout_ns, b.timeout_ns);
  const auto kind = [](const Arrival& arrival) {
    return arrival.call->is_bucket ? "a bucket" : "one tensor";
  };
  if (first.call->is_bucket != other.call->is_bucket) {
    differ("a list or a tensor:", kind(first), kind(other));
  }
  if (p.splits.size() != q.splits.size()) {
    differ("splits for ranks", p.splits.size(), q.splits.size());
  }
}

std::shared_ptr<fabric::Operation> launch_bucket(fabric::Fabric& fabric, const Call& call,
                                                 const std::vector<const void*>& arrivals,
                                                 const CallOptions& options) {
  std::vector<TensorList> inputs;
  std::vector<TensorList> outputs;
  for (const void* arrived : arrivals) {
    const RankCall& given = *static_cast<const Arrival*>(arrived)->call;
    inputs.push_back(given.inputs);
    outputs.push_back(given.outputs);
  }
  return run(fabric, call,
             make_bucket(fabric, by_place(fabric, std::move(inputs)),
                         by_place(fabric, std::move(outputs))),
             options);
}

std::shared_ptr<fabric::Operation> launch_arrivals(fabric::Fabric& fabric,
                                                   const std::vector<const void*>& arrivals,
                                                   const Interrupted& interrupted) {
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  std::vector<Stream> streams;
  std::vector<Rank> to;
  std::vector<std::int64_t> splits;
  std::vector<std::int64_t> called;
  const auto& first = *static_cast<const Arrival*>(arrivals.front());
  for (std::size_t r = 0; r < arrivals.size(); ++r) {
    const auto& arrival = *static_cast<const Arrival*>(arrivals[r]);
    check_agreement(first, arrival, static_cast<int>(r));
    inputs.push_back(arrival.call->input);
    outputs.push_back(arrival.call->output);
    called.push_back(arrival.called_ns);
    for (const Stream stream : arrival.options->streams) streams.push_back(stream);
    for (const Rank rank : arrival.call->call.to) to.push_back(rank);
    for (const std::int64_t rows : arrival.call->call.splits) splits.push_back(rows);
  }
  Call call = first.call->call;
  call.to = to;
  call.splits = splits;
  CallOptions options = *first.options;
  options.streams = streams;
  options.arrivals = called;
  options.interrupted = interrupted;  // of the rank that launches
  if (first.call->is_bucket) return launch_bucket(fabric, call, arrivals, options);
  return run(fabric, call, inputs, outputs, options);
}

}  // namespace

std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, Rank rank, const RankCall& call,
                                       const CallOptions& options, const Interrupted& interrupted) {
  const Arrival arrival{&call, &options, now_ns()};
  const std::int64_t timeout = options.timeout_ns > 0 ? options.timeout_ns : fabric.timeout_ns();
  const auto launch = [&](const std::vector<const void*>& arrivals) {
    return launch_arrivals(fabric, arrivals, interrupted);
  };
  return fabric.meet({rank, name(call.call.collective), &arrival, Deadline::after_ns(timeout)},
                     launch, interrupted);
}

}  // namespace weft::collectives
