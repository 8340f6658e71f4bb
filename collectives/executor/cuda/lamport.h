// Lamport: all-reduce for floating-point vectors of medium size. What crosses the link is data
// alone: a word of a region is either all ones, and then nothing has arrived, or it is data.
//
// lamport_kernel()           one-shot: every rank pushes its whole vector to every peer; all reduce
//                            in rank order. One hop; the bytes are (world - 1) x the vector.
// lamport_two_shot_kernel()  hop 1 scatters pieces to their owners, which reduce in rank order;
//                            hop 2 pushes the results to all. 2 (world - 1) / world x the vector:
//                            for 3 ranks and more.
//
// On 2 x H200 the one-shot is as fast as LL up to 64 KiB, and faster above; it needs all
// multiprocessors' blocks from 4 MiB on.
//
// A word is 32 bits, 64 for float64: what is written and read whole. Invariants, beyond those of
// flagged.h:
//   1. Data is never all ones: that pattern is a NaN (or two of 16 bits), and becomes the canonical
//      NaN before it is pushed, in the sender's own sum too, so that all ranks reduce the same
//      bits.
//   2. Who has read a word writes all ones back before its kernel ends. Words that are pushed are
//      exactly those that are read, so between a rank's operations the parity it has used is all
//      ones again, and two parities are enough (flagged.h, 3). Nobody else touches the word
//      meanwhile: the writer's next push there is in e + 2.
//   3. Two-shot: every piece has the same number of vectors of 16 bytes, at least one, those past
//      the vector's end as zeros: so everyone hears from everyone (flagged.h, 1). A thread handles
//      the same place of every piece in all three passes, so it reads an element of the input
//      before it writes it: in place is safe.
#pragma once

#include <cstdint>

#include "collectives/executor/cuda/kernel.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives::cuda {

// Floats of 16 to 64 bits: where a word of all ones is of NaNs, and a Pack has 16 bytes.
bool lamport_serves(DType dtype);

// Of a dtype served. Launched with any number of blocks and threads up to the kernel's.
Kernel lamport_kernel(DType dtype, ReduceOp op);
Kernel lamport_two_shot_kernel(DType dtype, ReduceOp op);
// Loads all of them on every device of the fabric, so that no launch has to.
void lamport_preload(const fabric::Fabric& fabric);

// Blocks for a vector of `bytes`: what measured best, and at most `max_blocks` (0: no such limit).
// Throws CoResidencyError.
std::int32_t lamport_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op,
                            std::int64_t bytes, std::int32_t max_blocks);
std::int32_t lamport_two_shot_blocks(const fabric::Fabric& fabric, DType dtype, ReduceOp op,
                                     std::int64_t bytes, std::int32_t max_blocks);

// One rank's work: plan.tiling.blocks blocks, plan.tiling.elements elements, which must be no more
// than lamport_capacity() or lamport_two_shot_capacity(); 2 ranks at least, 1 element at least.
Work lamport_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);
Work lamport_two_shot_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank);

}  // namespace weft::collectives::cuda
