// Any schedule that does not pull, step by step as it is written: for what has no kernel made for
// it. The device's twin of executor/sim: same order of rounds, steps and pieces, same lanes and
// counts, same slots, same bits.
//
// A block is a worker with lanes and slots of its own: it runs the whole program over its share of
// every chunk. All its threads move a piece together, in packs of 16 bytes where the piece's
// addresses line up, else element by element.
//
// Any dtype, op, length and alignment to the element; up to 16 ranks; grids are co-resident and of
// the same number of blocks on every rank. In place where the schedule is proven so.
//
// Fault points: every step, before its first piece.
#pragma once

#include <cstdint>
#include <string>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/executor/cuda/step_program.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {
namespace cuda {

Kernel steps_kernel();

}  // namespace cuda

// Loads the kernel on every device of the fabric.
void steps_preload(const fabric::Fabric& fabric);

// Why it cannot run the schedule on this fabric; empty if it can.
std::string steps_problem(const fabric::Fabric& fabric, const schedule::Prepared& schedule);

// How the plan is cut, with at most `max_blocks` blocks (0: its choice). Throws CoResidencyError.
schedule::Tiling steps_tiling(const fabric::Fabric& fabric, const Plan& plan,
                              const schedule::Extent& extent, std::int32_t max_blocks);

// The work of one rank, `plan.tiling` being of steps_tiling(). The plan outlives it.
Work steps_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives
