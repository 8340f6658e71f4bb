// Pinned host memory for tables that kernels read: lent, given back, used again; never freed.
//
// Invariants
//   1. A table is given back when its last reference goes, which may be on any thread, also one
//   that
//      must not call CUDA (the end of a captured graph): giving back only takes a lock.
//   2. There is one pool a process and it outlives every fabric, so that graphs may.
//   3. Only a table that is larger, or more of them at once, than ever before allocates.
//
// Thread safety: every function may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "core/device/device.h"

namespace weft::collectives {

// At least `words` long, uninitialised; every CUDA device can read it at this address. Throws
// OutOfMemory, CudaError.
std::shared_ptr<std::uint64_t[]> lend_table(Device& device, std::size_t words);

}  // namespace weft::collectives
