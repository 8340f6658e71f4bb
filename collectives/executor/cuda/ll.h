// LL: one-shot all-reduce for small vectors, any dtype. Every rank pushes its whole vector to every
// peer; all reduce in rank order. One hop, no fence; half of what crosses the link is flags.
//
// A line is 16 bytes: {4 bytes of data, epoch, 4 bytes of data, epoch}. A line has arrived when
// both flags are the operation's epoch. Invariants, beyond those of flagged.h:
//   1. Data and its flag share one 64-bit word, which is written and read whole: a flag never shows
//      without its data.
//   2. No flag survives its epoch's return after 2^32 operations: in epoch e, line (e / 2) mod
//      (lines a source has) of e's parity is either among those that the peers write in e, and
//      then carries e, or it is cleared by its owner. Nobody reads it then or writes it before
//      e + 2 (flagged.h, 2 and 3). e / 2 steps by one each time a parity is used, so every line is
//      renewed within 2 x 65536 operations.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives::cuda {

// Launched with any number of blocks and threads up to the kernel's.
Kernel ll_kernel(DType dtype, ReduceOp op);
// Loads all of them on every device of the fabric, so that no launch has to.
void ll_preload(const fabric::Fabric& fabric);

// Blocks for a vector of `bytes`: what measured best, and at most `max_blocks` (0: no such limit).
// Throws CoResidencyError.
std::int32_t ll_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op, std::int64_t bytes,
                       std::int32_t max_blocks);

// One rank's work: plan.tiling.blocks blocks, plan.tiling.elements elements, which must be no more
// than ll_capacity(); 2 ranks at least, 1 element at least.
Work ll_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives::cuda
