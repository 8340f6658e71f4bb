// Opening a fabric for collectives, and the names of ops and algorithms.
#include "collectives/collectives.h"

#include <algorithm>
#include <string>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/sim/executor.h"
#include "collectives/request.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

constexpr std::int64_t kCudaScratch = 64 << 20;
constexpr std::int32_t kCudaBlocks = 132;

constexpr const char* kOpNames[] = {"sum", "avg", "min", "max", "prod"};
constexpr const char* kAlgorithmNames[] = {
    "auto",     "ring",          "ll",          "lamport",          "one_shot",    "one_shot_pull",
    "two_shot", "push_two_shot", "copy_engine", "halving_doubling", "hierarchical"};

template <class Enum, std::size_t kCount>
Enum parse(const char* what, std::string_view text, const char* const (&names)[kCount]) {
  std::string list;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (text == names[i]) return static_cast<Enum>(i);
    list += concat(list.empty() ? "" : ", ", names[i]);
  }
  fail(ErrorCode::invalid_argument, "no ", what, " is called \"", text, "\"; there are ", list);
}

void check_world(const fabric::FabricOptions& options) {
  if (options.devices.empty()) return;  // Fabric::open says it
  const bool cuda = options.devices.front()->id().kind == DeviceKind::cuda;
  const std::size_t most = cuda ? kMaxCudaRanks : kMaxRanks;
  if (options.devices.size() > most) {
    fail(ErrorCode::invalid_argument, "a fabric on ", cuda ? "CUDA" : "simulated",
         " devices has at most ", most, " ranks, not ", options.devices.size());
  }
}

// Ranks on the same device are one node of the topology; nodes are in order of first appearance.
std::vector<int> nodes_of(const fabric::FabricOptions& options) {
  std::vector<DeviceId> seen;
  std::vector<int> nodes;
  for (const Device* device : options.devices) {
    auto found = std::find(seen.begin(), seen.end(), device->id());
    nodes.push_back(static_cast<int>(found - seen.begin()));
    if (found == seen.end()) seen.push_back(device->id());
  }
  return nodes;
}

}  // namespace

std::shared_ptr<fabric::Fabric> open(fabric::FabricOptions options) {
  check_world(options);
  auto kept = std::make_shared<Session>();
  kept->device_of_rank = nodes_of(options);
  const bool cuda =
      !options.devices.empty() && options.devices.front()->id().kind == DeviceKind::cuda;
  if (options.scratch.value() == 0) options.scratch = cuda ? Bytes(kCudaScratch) : sim_scratch();
  options.blocks = cuda ? kCudaBlocks : 1;
  options.prepare_scratch = cuda ? cuda_prepare_scratch : nullptr;
  auto fabric = fabric::Fabric::open(std::move(options));
  fabric->extension = std::move(kept);
  set_tuning(*fabric, {});
  if (cuda) session(*fabric).cuda = cuda_open(*fabric);
  return fabric;
}

Session& session(const fabric::Fabric& fabric) {
  return *static_cast<Session*>(fabric.extension.get());
}

void plan_fault(fabric::Fabric& fabric, const FaultPoint& fault) {
  const std::scoped_lock lock(session(fabric).mutex);
  session(fabric).fault = fault;
}

const char* name(ReduceOp op) { return kOpNames[static_cast<std::size_t>(op)]; }
const char* name(Algorithm algorithm) {
  return kAlgorithmNames[static_cast<std::size_t>(algorithm)];
}
Collective parse_collective(std::string_view text) {
  std::string list;
  for (int i = 0; i <= static_cast<int>(Collective::send_recv); ++i) {
    const auto collective = static_cast<Collective>(i);
    if (text == name(collective)) return collective;
    list += concat(list.empty() ? "" : ", ", name(collective));
  }
  fail(ErrorCode::invalid_argument, "no collective is called \"", text, "\"; there are ", list);
}
ReduceOp parse_op(std::string_view text) { return parse<ReduceOp>("op", text, kOpNames); }
Algorithm parse_algorithm(std::string_view text) {
  return parse<Algorithm>("algorithm", text, kAlgorithmNames);
}

}  // namespace weft::collectives
