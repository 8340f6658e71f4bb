// Stands in for core/device/cuda/ in a build without CUDA.
#include "core/base/error.h"
#include "core/device/cuda_hook.h"

namespace weft {

int cuda_device_count() noexcept { return 0; }
Device& cuda_device(int) { fail(ErrorCode::internal, "this build of weft has no CUDA"); }
int exchange_current_cuda_device(int) noexcept { return -1; }

}  // namespace weft
