// The collectives: the whole public surface on one page.
//
// Every call takes one tensor a rank: element i is rank i's. It is checked before anything is
// launched: a call that throws has changed nothing. What it returns ends on every rank or fails on
// every rank.
//
// Stream semantics: on simulated devices the works run on the ranks' threads and the caller waits
// on the returned operation. On CUDA the operation is ordered after what is on `streams` now and
// before what comes on them later.
//
// Capturable: not yet.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "collectives/plan.h"
#include "core/tensor/tensor.h"
#include "fabric/fabric.h"

namespace weft::collectives {

using Interrupted = fabric::Fabric::Interrupted;
inline constexpr auto kNeverInterrupted = [] { return false; };

struct CallOptions {
  Algorithm algorithm = Algorithm::automatic;
  std::int32_t max_blocks = 0;        // 0: the executor's default
  std::int64_t timeout_ns = 0;        // of each wait; 0: the fabric's
  std::span<const Stream> streams{};  // one a rank; empty: none (simulated), or the default stream
};

// A fabric ready for collectives: peers, arenas and, on CUDA, every kernel loaded on every device.
// Throws what Fabric::open throws.
std::shared_ptr<fabric::Fabric> open(fabric::FabricOptions options);

// outputs[i] = inputs[0] op inputs[1] op ... on every rank. All tensors of one shape and dtype;
// outputs may be the inputs themselves. Same bits on every rank and from run to run.
// Throws WorldSizeError, ShapeMismatch, DTypeMismatch, DeviceMismatch, AliasError, ReadOnlyBuffer,
// InvalidArgument, FabricPoisoned, FabricClosed.
std::shared_ptr<fabric::Operation> all_reduce(fabric::Fabric& fabric,
                                              std::span<const Tensor> inputs,
                                              std::span<const Tensor> outputs, ReduceOp op,
                                              const CallOptions& options);
// The same from one rank's own thread: blocks until all ranks called, then all get one operation.
// `interrupted`, if it can say yes (Ctrl-C), is asked now and then while the rank waits.
// Besides: CollectiveTimeout that names the ranks which did not come. Calls that differ between
// ranks in anything but the tensors are InvalidArgument.
std::shared_ptr<fabric::Operation> all_reduce(fabric::Fabric& fabric, Rank rank,
                                              const Tensor& input, const Tensor& output,
                                              ReduceOp op, const CallOptions& options,
                                              const Interrupted& interrupted = kNeverInterrupted);

// Ends when everything launched before it has ended on every rank.
std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric);
std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric, Rank rank,
                                           std::int64_t timeout_ns,
                                           const Interrupted& interrupted = kNeverInterrupted);

// Tests: the fault that the next operations meet. FaultPoint{} takes it back.
void plan_fault(fabric::Fabric& fabric, const FaultPoint& fault);

// Names as users type them. parse_* throw InvalidArgument that lists what there is.
const char* name(ReduceOp op);
const char* name(Algorithm algorithm);
ReduceOp parse_op(std::string_view text);
Algorithm parse_algorithm(std::string_view text);
inline constexpr const char* kProtocolNames[] = {"none", "chunk_flags"};

}  // namespace weft::collectives
