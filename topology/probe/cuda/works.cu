// Launching the kernels of the works. See topology/probe/works.h.
#include <algorithm>

#include "core/device/cuda/cuda_api.h"
#include "topology/probe/cuda/works.cuh"

namespace weft::topology {
namespace {

template <class Params>
using KernelOf = void (*)(Params);

template <class Params>
void launch(const WorkContext& context, KernelOf<Params> kernel, unsigned blocks, unsigned threads,
            const void* work_params) {
  Params params = *static_cast<const Params*>(work_params);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(blocks);
  config.blockDim = dim3(threads);
  config.stream = static_cast<cudaStream_t>(context.native_stream);
  void* parameters[] = {&params};
  check_cuda(cuda_api().launch_kernel(&config, reinterpret_cast<const void*>(kernel), parameters),
             "cudaLaunchKernelEx", context.device->id().ordinal.value());
}

unsigned copy_blocks(int ordinal, const CopyParams& params) {
  int multiprocessors = 0;
  check_cuda(
      cuda_api().device_get_attribute(&multiprocessors, cudaDevAttrMultiProcessorCount, ordinal),
      "cudaDeviceGetAttribute", ordinal);
  const std::int64_t threads =
      (params.bytes / kCopyUnit + cuda::kCopyUnroll - 1) / cuda::kCopyUnroll;
  const std::int64_t needed = (threads + cuda::kCopyThreads - 1) / cuda::kCopyThreads;
  const std::int64_t all = static_cast<std::int64_t>(multiprocessors) * cuda::kBlocksEach;
  return static_cast<unsigned>(
      std::max<std::int64_t>(1, std::min(needed, all / std::max(params.share, 1))));
}

void run_copy(const WorkContext& context, const void* params) {
  const unsigned blocks =
      copy_blocks(context.device->id().ordinal.value(), *static_cast<const CopyParams*>(params));
  launch<CopyParams>(context, cuda::copy, blocks, cuda::kCopyThreads, params);
}

void run_gate(const WorkContext& context, const void* params) {
  launch<GateParams>(context, cuda::gate, 1, 1, params);
}

void run_flags(const WorkContext& context, const void* params) {
  launch<FlagParams>(context, cuda::flags, 1, 1, params);
}

// A kernel's code is loaded by the first call that names it, and that may wait for all that runs.
void preload(Device& device) {
  const int ordinal = device.id().ordinal.value();
  const CurrentDevice current(ordinal);
  const void* const kernels[] = {reinterpret_cast<const void*>(&cuda::copy),
                                 reinterpret_cast<const void*>(&cuda::gate),
                                 reinterpret_cast<const void*>(&cuda::flags)};
  for (const void* kernel : kernels) {
    cudaFuncAttributes attributes{};
    check_cuda(cuda_api().func_get_attributes(&attributes, kernel), "cudaFuncGetAttributes",
               ordinal);
  }
}

}  // namespace

const ProbeWorks* cuda_probe_works() {
  static constexpr ProbeWorks kWorks = {run_copy, run_gate, run_flags, preload};
  return &kWorks;
}

}  // namespace weft::topology
