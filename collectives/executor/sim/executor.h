// Runs any schedule on simulated devices: one work a rank, on that rank's stream thread.
//
// It interprets the materialised steps; nothing here knows the ring.
#pragma once

#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

schedule::TilingLimits sim_limits();
// Slots of one rank, for the largest tiling that sim_limits() allows.
Bytes sim_scratch();
// The work of one rank. The plan must live until it has run.
Work sim_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
