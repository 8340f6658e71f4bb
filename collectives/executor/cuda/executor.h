// Runs collectives on CUDA devices: which kernel family serves a plan, and what it needs.
#pragma once

#include <memory>
#include <string>

#include "collectives/plan.h"
#include "collectives/request.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// Why an algorithm, with its schedule, cannot serve a request on this fabric; empty if it can.
std::string cuda_refusal(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
                         const Selection& selection);
// How the plan is cut, with at most `max_blocks` blocks a rank (0: the family's choice). Throws
// CoResidencyError when the ranks of one device cannot all run at once.
schedule::Tiling cuda_tiling(fabric::Fabric& fabric, const Plan& plan,
                             const schedule::Extent& extent, std::int32_t max_blocks);
// Submits to every rank's stream what puts its scratch as the first operation must find it: for
// FabricOptions::prepare_scratch.
void cuda_prepare_scratch(fabric::Fabric& fabric);
// Loads every kernel on every device of the fabric, so that no launch has to, and makes what the
// launches need: it lives as long as the fabric.
std::shared_ptr<void> cuda_open(const fabric::Fabric& fabric);
// The work of one rank. The plan must live until it has run.
Work cuda_work(fabric::Fabric& fabric, const Plan& plan, Rank rank);

// Of a device whose rank's stream is idle. Throws CollectiveTimeout if it does not answer.
ClockSample cuda_clock(const fabric::Fabric& fabric, Rank rank);

namespace cuda {

class LaunchGraphs;
// Of an open fabric of two ranks at least.
LaunchGraphs& launch_graphs(const fabric::Fabric& fabric);

}  // namespace cuda
}  // namespace weft::collectives
