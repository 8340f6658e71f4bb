// Runs the ring on CUDA devices: one kernel a rank. The host side; kernels are in ring*.cu.
#pragma once

#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {

// What a launch with at most `max_blocks` blocks a rank (0: the default) can use. Throws
// CoResidencyError when the ranks of one device cannot all run at once.
schedule::TilingLimits cuda_ring_limits(const fabric::Fabric& fabric, DType dtype,
                                        std::int32_t max_blocks);
// Submits to every rank's stream what puts its scratch as the first operation must find it: for
// FabricOptions::prepare_scratch.
void cuda_prepare_scratch(fabric::Fabric& fabric);
// Loads every kernel on every device of the fabric, so that no launch has to.
void cuda_ring_preload(const fabric::Fabric& fabric);
// The work of one rank: the bulk-copy kernel where all ranks' vectors are aligned, else the simple
// one.
Work cuda_ring_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
