// The strided copy of CUDA memory: a kernel in a CUDA build, nothing (no_cuda.cc) in others.
#pragma once

#include <cstdint>

#include "core/device/device.h"
#include "core/tensor/layout.h"

namespace weft {

// Enqueues the copy of one strided view to another, both in memory that `device` can reach. False,
// with nothing done, where there is no kernel for it. Throws CudaError.
bool strided_copy_cuda(Device& device, Stream stream, void* to, const Layout& to_layout,
                       const void* from, const Layout& from_layout, std::int64_t item_bytes);

}  // namespace weft
