// How the registry reaches CUDA devices without knowing whether this build has any.
#pragma once

#include "core/device/device.h"

namespace weft {

// 0 without a driver, without a device, or in a build without CUDA. Never throws.
int cuda_device_count() noexcept;
// The process-wide device; `ordinal` is less than cuda_device_count().
Device& cuda_device(int ordinal);

}  // namespace weft
