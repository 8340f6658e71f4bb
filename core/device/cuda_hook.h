// How the registry reaches CUDA devices without knowing whether this build has any.
#pragma once

#include "core/device/device.h"

namespace weft {

// 0 without a driver, without a device, or in a build without CUDA. Never throws.
int cuda_device_count() noexcept;
// The process-wide device; `ordinal` is less than cuda_device_count().
Device& cuda_device(int ordinal);
// Makes a device the calling thread's current one, for foreign code that asks for it (a tensor's
// __dlpack__). Returns the one before, or -1 where there is none. Never throws.
int exchange_current_cuda_device(int ordinal) noexcept;

}  // namespace weft
