// LL lines for collectives that only move data: a rank pushes what each peer gets into that peer's
// LL region, and copies what it gets itself out of its own region into its output. One hop, no
// fence, no permission to write: for small pieces.
//
// The protocol is that of ll.h, with one thing more: a rank that has nothing for a peer sends it
// one empty line all the same (flagged.h, 1).
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives::cuda {

// Launched with any number of blocks and threads up to the kernel's.
Kernel ll_move_kernel();
// Loads it on every device of the fabric.
void ll_move_preload(const fabric::Fabric& fabric);

// Blocks where the largest piece that a rank sends to another has `bytes`, and at most `max_blocks`
// (0: no such limit). Throws CoResidencyError.
std::int32_t ll_move_blocks(const fabric::Fabric& fabric, std::int64_t bytes,
                            std::int32_t max_blocks);

// One rank's work: what the plan's schedule pushes into slots, copies out of them and keeps, with
// plan.tiling.blocks blocks. No piece may be larger than ll_capacity(); 2 ranks at least.
Work ll_move_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives::cuda
