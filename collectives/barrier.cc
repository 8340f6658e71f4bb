// Barrier: an operation in which no rank does anything.
#include <vector>

#include "collectives/collectives.h"

namespace weft::collectives {
namespace {

std::shared_ptr<fabric::Operation> launch_barrier(fabric::Fabric& fabric,
                                                  std::span<const std::int64_t> arrivals) {
  return fabric.launch([&](fabric::Operation& operation) {
    operation.info().kind = EventKind::barrier;
    operation.info().kind_name = "barrier";
    operation.set_arrivals(arrivals);
  });
}

}  // namespace

std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric) {
  return launch_barrier(fabric, {});
}

std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric, Rank rank,
                                           std::int64_t timeout_ns,
                                           const Interrupted& interrupted) {
  const std::int64_t timeout = timeout_ns > 0 ? timeout_ns : fabric.timeout_ns();
  const std::int64_t called = now_ns();
  const auto launch = [&](const std::vector<const void*>& arrivals) {
    std::vector<std::int64_t> all;
    for (const void* one : arrivals) all.push_back(*static_cast<const std::int64_t*>(one));
    return launch_barrier(fabric, all);
  };
  return fabric.meet({rank, "barrier", &called, Deadline::after_ns(timeout)}, launch, interrupted);
}

}  // namespace weft::collectives
