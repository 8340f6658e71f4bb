// Barrier: an operation in which no rank does anything.
#include "collectives/collectives.h"

namespace weft::collectives {

std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric) {
  return fabric.launch([](fabric::Operation& operation) {
    operation.info().kind = EventKind::barrier;
    operation.info().kind_name = "barrier";
  });
}

std::shared_ptr<fabric::Operation> barrier(fabric::Fabric& fabric, Rank rank,
                                           std::int64_t timeout_ns,
                                           const Interrupted& interrupted) {
  const std::int64_t timeout = timeout_ns > 0 ? timeout_ns : fabric.timeout_ns();
  const auto launch = [&](const std::vector<const void*>&) { return barrier(fabric); };
  return fabric.meet({rank, "barrier", &rank, Deadline::after_ns(timeout)}, launch, interrupted);
}

}  // namespace weft::collectives
