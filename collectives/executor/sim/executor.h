// Runs any schedule on simulated devices: one work a rank, on that rank's stream thread.
//
// It interprets the materialised steps; nothing here knows the ring.
#pragma once

#include <string>

#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// Why a schedule cannot run on this fabric; empty if it can.
std::string sim_refusal(const fabric::Fabric& fabric, const schedule::Prepared& schedule);
// How the plan is cut. Throws InvalidArgument where its schedule is refused.
schedule::Tiling sim_tiling(const fabric::Fabric& fabric, const Plan& plan,
                            const schedule::Extent& extent);
// For the slots of one rank.
Bytes sim_scratch();
// The work of one rank. The plan must live until it has run.
Work sim_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
