// The collectives: the whole public surface on one page.
//
// Every call takes one tensor a rank: element i is rank i's; where a rank gives or gets nothing
// (rooted collectives) its tensor may be undefined. It is checked before anything is
// launched: a call that throws has changed nothing. What it returns ends on every rank or fails on
// every rank.
//
// Stream semantics: the operation is ordered after what is on `streams` now and before what comes
// on them later. Without them a simulated fabric runs it on streams of its own, and the caller
// waits on the returned operation.
//
// Capturable: by Fabric::begin_capture, and on CUDA by a capture of every rank's stream.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "collectives/bucket.h"
#include "collectives/plan.h"
#include "core/tensor/tensor.h"
#include "fabric/fabric.h"

namespace weft::collectives {

using Interrupted = fabric::Fabric::Interrupted;
inline constexpr auto kNeverInterrupted = [] { return false; };

struct CallOptions {
  Algorithm algorithm = Algorithm::automatic;
  std::int32_t max_blocks = 0;        // 0: the executor's default
  std::int32_t group_size = 0;        // hierarchical: ranks a group, in rank order; 0: see groups.h
  bool deterministic = false;         // only sums whose bits do not depend on the algorithm
  std::int64_t timeout_ns = 0;        // of each wait; 0: the fabric's
  std::span<const Stream> streams{};  // one a rank; empty: the fabric's, or CUDA's default one
  // When each rank called (now_ns), where they call one by one; empty: all at once, now.
  std::span<const std::int64_t> arrivals{};
  // Asked now and then where the host waits for copies of staged tensors; true aborts.
  Interrupted interrupted = kNeverInterrupted;
};

// A fabric ready for collectives: peers, arenas and, on CUDA, every kernel loaded on every device.
// Throws what Fabric::open throws.
std::shared_ptr<fabric::Fabric> open(fabric::FabricOptions options);

// Which collective, and its arguments beside the tensors.
struct Call {
  Collective collective = Collective::all_reduce;
  ReduceOp op = ReduceOp::sum;             // those that reduce
  Rank root{0};                            // broadcast, reduce, scatter, gather
  std::span<const Rank> to{};              // send_recv: one a rank; schedule::kNobody: nobody
  std::span<const std::int64_t> splits{};  // all_to_all: [from][to] rows of dimension 0; or even
};

// Shapes: with (m, ...) the shape of a rank's shorter tensor and n ranks,
//   all_reduce      outputs[i] = inputs[0] op inputs[1] op ...; all of one shape
//   reduce          the same, only outputs[root] is written
//   broadcast       outputs[i] = inputs[root]
//   reduce_scatter  (n m, ...) to (m, ...): outputs[i] is part i of the reduction
//   all_gather      (m, ...) to (n m, ...): all inputs one after the other
//   gather          the same, on the root only; scatter: the other way, part i to rank i
//   all_to_all      (n m, ...) to (n m, ...): part j of rank i becomes part i of rank j
//   send_recv       outputs[to[i]] = inputs[i]
// Outputs may be the inputs themselves in all_reduce, broadcast and reduce. Same bits on every rank
// and from run to run.
// Throws WorldSizeError, ShapeMismatch, DTypeMismatch, DeviceMismatch, AliasError, ReadOnlyBuffer,
// InvalidArgument, FabricPoisoned, FabricClosed.
std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Call& call,
                                       std::span<const Tensor> inputs,
                                       std::span<const Tensor> outputs, const CallOptions& options);

// A bucket: all_reduce of several tensors a rank as one operation, one launch a rank. The bits are
// those of one all_reduce by "two_shot" for each; the tensors stay where they are. One dtype; any
// shapes, and the same on every rank for one place; any of them may be empty, and so may the list.
// Tensors are in the order of Bucket's invariant 1; no outputs: in place. Throws what run() throws.
std::shared_ptr<Bucket> make_bucket(const fabric::Fabric& fabric, std::vector<Tensor> inputs,
                                    std::optional<std::vector<Tensor>> outputs);
// `call` is an all_reduce.
std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Call& call,
                                       std::shared_ptr<Bucket> bucket, const CallOptions& options);
// The ranks' lists in that order. WorldSizeError, or ShapeMismatch where lengths differ.
using TensorList = std::vector<Tensor>;
std::vector<Tensor> by_place(const fabric::Fabric& fabric, std::vector<TensorList> lists);
// The last few buckets of a fabric, by numbers that say all that its checks depend on: addresses,
// devices, dtypes, sizes and strides. A remembered bucket only borrows its memory. Null: not known.
std::shared_ptr<Bucket> known_bucket(fabric::Fabric& fabric,
                                     std::span<const std::int64_t> signature);
void remember_bucket(fabric::Fabric& fabric, std::span<const std::int64_t> signature,
                     std::shared_ptr<Bucket> bucket);

// What one rank brings to a collective that every rank calls from its own thread. `call.to` has one
// element, whom the rank sends to; `call.splits` its own n numbers of rows. An undefined tensor
// where the rank gives or gets nothing.
struct RankCall {
  Call call{};
  Tensor input{};
  Tensor output{};
  // Instead of them, if it is a bucket.
  bool is_bucket = false;
  TensorList inputs{};
  TensorList outputs{};
};
// Blocks until all ranks called, then all get one operation. `interrupted`, if it can say yes
// (Ctrl-C), is asked now and then while the rank waits.
// Besides: CollectiveTimeout that names the ranks which did not come. Calls that differ between
// ranks in what must agree are InvalidArgument.
std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, Rank rank, const RankCall& call,
                                       const CallOptions& options,
                                       const Interrupted& interrupted = kNeverInterrupted);

inline std::shared_ptr<fabric::Operation> all_reduce(fabric::Fabric& fabric,
                                                     std::span<const Tensor> inputs,
                                                     std::span<const Tensor> outputs, ReduceOp op,
                                                     const CallOptions& options) {
  return run(fabric, {.collective = Collective::all_reduce, .op = op}, inputs, outputs, options);
}
inline std::shared_ptr<fabric::Operation> all_reduce(
    fabric::Fabric& fabric, Rank rank, const Tensor& input, const Tensor& output, ReduceOp op,
    const CallOptions& options, const Interrupted& interrupted = kNeverInterrupted) {
  const RankCall call{{.collective = Collective::all_reduce, .op = op}, input, output};
  return run(fabric, rank, call, options, interrupted);
}

// Ends when everything launched before it has ended on every rank.
std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric);
std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric, Rank rank,
                                           std::int64_t timeout_ns,
                                           const Interrupted& interrupted = kNeverInterrupted);

// Tests: the fault that the next operations meet. FaultPoint{} takes it back.
void plan_fault(fabric::Fabric& fabric, const FaultPoint& fault);

// Names as users type them. parse_* throw InvalidArgument that lists what there is.
const char* name(Collective collective);
const char* name(ReduceOp op);
const char* name(Algorithm algorithm);
Collective parse_collective(std::string_view text);
ReduceOp parse_op(std::string_view text);
Algorithm parse_algorithm(std::string_view text);
inline constexpr const char* kProtocolNames[] = {"none", "chunk_flags", "tokens",
                                                 "ll",   "lamport",     "events"};

}  // namespace weft::collectives
