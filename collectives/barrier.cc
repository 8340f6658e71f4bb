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
                                           std::int64_t timeout_ns) {
  const std::int64_t timeout = timeout_ns > 0 ? timeout_ns : fabric.timeout_ns();
  return fabric.meet(rank, "barrier", &rank, Deadline::after_ns(timeout),
                     [&](const std::vector<const void*>&) { return barrier(fabric); });
}

}  // namespace weft::collectives
