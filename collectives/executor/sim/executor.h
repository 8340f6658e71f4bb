// Runs any schedule on simulated devices: one work a rank, on that rank's stream thread.
//
// It interprets the materialised steps; nothing here knows the ring.
#pragma once

#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// How a schedule's chunks of elements of `item_bytes` may be cut in an arena of this layout.
schedule::TilingLimits sim_limits(const fabric::ArenaLayout& layout,
                                  const schedule::Prepared& schedule, Algorithm algorithm,
                                  std::int64_t item_bytes);
// For the slots of one rank.
Bytes sim_scratch();
// The work of one rank. The plan must live until it has run.
Work sim_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
