// What every collective shares before it becomes a plan: the checks, staging, and the launch.
#pragma once

#include <mutex>
#include <span>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/schedule/predict.h"

namespace weft::collectives {

struct Request {
  Collective collective = Collective::all_reduce;
  const char* name = "all_reduce";
  ReduceOp op = ReduceOp::sum;
  std::span<const Tensor> inputs;   // one a rank
  std::span<const Tensor> outputs;  // one a rank; outputs[i] may be inputs[i] exactly
};

// Everything that can be wrong with the arguments. Throws; changes nothing.
void validate(const fabric::Fabric& fabric, const Request& request, const CallOptions& options);

// What collectives keep with a fabric (Fabric::extension).
struct Session {
  std::mutex mutex;
  FaultPoint fault{};
  struct Predicted {
    std::int64_t elements = -1;
    std::int64_t item = 0;
    std::int64_t ns = 0;
  };
  std::vector<Predicted> predicted;  // the last few sizes, newest first
  std::vector<int> device_of_rank;   // index in the fabric's topology
};
Session& session(fabric::Fabric& fabric);

// Checks, chooses, cuts, prepares and launches on all ranks.
std::shared_ptr<fabric::Operation> run(fabric::Fabric& fabric, const Request& request,
                                       const CallOptions& options);

}  // namespace weft::collectives
