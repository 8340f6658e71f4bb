// Loading and launching kernels: what every family of kernels needs of the host.
//
// Thread safety: every function may be called from any thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives::cuda {

// What it takes to launch a kernel: its address for the CUDA runtime and its block.
struct Kernel {
  const void* function = nullptr;
  std::int32_t threads = 0;
  std::int32_t shared_bytes = 0;  // dynamic, for pieces of the largest size
};

// Loads the kernel on the current device, which is `device`. Blocks of it that a multiprocessor
// holds.
int load_kernel(const Kernel& kernel, int device);

// Loads the kernel on every device of the fabric. The most blocks that each rank may launch so that
// all ranks' blocks run at once; the fabric's own limit counts too. Throws CoResidencyError where
// that is less than one. Cheap after the first call for a kernel.
std::int32_t co_resident_blocks(const fabric::Fabric& fabric, const Kernel& kernel);

// What every kernel is launched with: its system-wide fences need not wait for other kernels'
// writes on the device. A fence of one domain does not cover what kernels of another are writing;
// nor has it to: what a kernel here reads, or lets peers read, was written by kernels that ended
// before it in stream order, and by then was flushed to the system ("Memory Synchronization
// Domains", CUDA programming guide; NCCL launches its kernels so too).
cudaLaunchAttribute remote_domain();

// Enqueues the kernel; `params` is its one parameter.
void launch_kernel(const WorkContext& context, const Kernel& kernel, std::int32_t blocks,
                   std::int32_t threads, void* params);

}  // namespace weft::collectives::cuda
