// One strided view to another on a device: one thread an element, the index taken apart by
// division.
//
// The reference version. It is what non-contiguous tensors are staged with; nothing fast depends on
// it.

#include <cstdint>

#include "core/device/cuda/cuda_api.h"
#include "core/ops/strided_copy_cuda.h"

namespace weft {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMostBlocks = 4096;
constexpr int kDims = Layout::kInlineDims;

// Strides in elements; dimension 0 varies slowest.
struct CopyParams {
  void* to;
  const void* from;
  std::int64_t elements;
  std::int32_t dims;
  std::int64_t sizes[kDims];
  std::int64_t to_strides[kDims];
  std::int64_t from_strides[kDims];
};

template <class T>
__global__ void __launch_bounds__(kThreads) copy(const __grid_constant__ CopyParams params) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
       i < params.elements; i += step) {
    std::int64_t rest = i;
    std::int64_t to = 0;
    std::int64_t from = 0;
    for (int d = params.dims - 1; d >= 0; --d) {
      const std::int64_t index = rest % params.sizes[d];
      rest /= params.sizes[d];
      to += index * params.to_strides[d];
      from += index * params.from_strides[d];
    }
    static_cast<T*>(params.to)[to] = static_cast<const T*>(params.from)[from];
  }
}

const void* kernel_for(std::int64_t item_bytes) {
  switch (item_bytes) {
    case 1:
      return reinterpret_cast<const void*>(&copy<std::uint8_t>);
    case 2:
      return reinterpret_cast<const void*>(&copy<std::uint16_t>);
    case 4:
      return reinterpret_cast<const void*>(&copy<std::uint32_t>);
    default:
      return reinterpret_cast<const void*>(&copy<std::uint64_t>);
  }
}

struct Launch {
  CopyParams params;
  std::int64_t item_bytes;
};

void launch(const WorkContext& context, const void* work_params) {
  Launch launch = *static_cast<const Launch*>(work_params);
  const std::int64_t blocks = (launch.params.elements + kThreads - 1) / kThreads;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(context.native_stream);
  void* parameters[] = {&launch.params};
  check_cuda(cuda_api().launch_kernel(&config, kernel_for(launch.item_bytes), parameters),
             "cudaLaunchKernelEx", context.device->id().ordinal.value());
}

}  // namespace

bool strided_copy_cuda(Device& device, Stream stream, void* to, const Layout& to_layout,
                       const void* from, const Layout& from_layout, std::int64_t item_bytes) {
  if (to_layout.dims() > kDims) return false;
  if (to_layout.elements() == 0) return true;
  Launch launch_params{};
  CopyParams& params = launch_params.params;
  params.to = to;
  params.from = from;
  params.elements = to_layout.elements();
  params.dims = to_layout.dims();
  for (int d = 0; d < params.dims; ++d) {
    const auto i = static_cast<std::size_t>(d);
    params.sizes[d] = to_layout.sizes()[i];
    params.to_strides[d] = to_layout.strides()[i];
    params.from_strides[d] = from_layout.strides()[i];
  }
  launch_params.item_bytes = item_bytes;
  device.submit(stream, Work::make("strided_copy", launch, launch_params));
  return true;
}

}  // namespace weft
