// Runs collectives on CUDA devices: which kernel family serves a plan, and what it needs.
#pragma once

#include <string>

#include "collectives/plan.h"
#include "collectives/request.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// Why an algorithm cannot serve a request on this fabric; empty if it can.
std::string cuda_refusal(const fabric::Fabric& fabric, const Request& request,
                         const CallOptions& options, Algorithm algorithm);
// How the plan's chunks may be cut, with at most `max_blocks` blocks a rank (0: the default).
// Throws CoResidencyError when the ranks of one device cannot all run at once.
schedule::TilingLimits cuda_limits(const fabric::Fabric& fabric, const Plan& plan,
                                   std::int32_t max_blocks);
// Loads every kernel on every device of the fabric, so that no launch has to.
void cuda_preload(const fabric::Fabric& fabric);
// The work of one rank. The plan must live until it has run.
Work cuda_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
