#include "collectives/executor/cuda/kernel.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <unordered_map>

#include "core/device/cuda/cuda_api.h"

namespace weft::collectives::cuda {
namespace {

constexpr std::size_t kMaxDevices = 64;
constexpr std::int32_t kUnknown = -1;

// Blocks of the kernel that the device runs at once, if nothing else runs there.
std::int32_t resident_blocks(const Kernel& kernel, int device) {
  using OfDevices = std::array<std::int32_t, kMaxDevices>;
  static std::mutex mutex;
  static auto& known = *new std::unordered_map<const void*, OfDevices>();
  const auto index = static_cast<std::size_t>(device);
  if (index >= kMaxDevices)
    fail(ErrorCode::invalid_argument, "cuda:", device, " is beyond cuda:63");
  const std::scoped_lock lock(mutex);
  const auto [found, is_new] = known.try_emplace(kernel.function);
  if (is_new) found->second.fill(kUnknown);
  std::int32_t& blocks = found->second[index];
  if (blocks != kUnknown) return blocks;
  const CurrentDevice current(device);
  int multiprocessors = 0;
  check_cuda(
      cuda_api().device_get_attribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
      "cudaDeviceGetAttribute", device);
  blocks = load_kernel(kernel, device) * multiprocessors;
  return blocks;
}

}  // namespace

int load_kernel(const Kernel& kernel, int device) {
  const CudaApi& api = cuda_api();
  cudaFuncAttributes attributes{};
  check_cuda(api.func_get_attributes(&attributes, kernel.function), "cudaFuncGetAttributes",
             device);
  if (kernel.shared_bytes > 0) {
    check_cuda(api.func_set_attribute(kernel.function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      kernel.shared_bytes),
               "cudaFuncSetAttribute", device);
  }
  int blocks = 0;
  check_cuda(api.occupancy(&blocks, kernel.function, kernel.threads,
                           static_cast<std::size_t>(kernel.shared_bytes)),
             "cudaOccupancyMaxActiveBlocksPerMultiprocessor", device);
  return blocks;
}

std::int32_t co_resident_blocks(const fabric::Fabric& fabric, const Kernel& kernel) {
  std::int32_t blocks = fabric.arena(Rank(0)).layout.blocks;
  for (int r = 0; r < fabric.world().value(); ++r) {
    const DeviceId device = fabric.device(Rank(r)).id();
    const int ranks = fabric.ranks_on(device);
    const std::int32_t each = resident_blocks(kernel, device.ordinal.value()) / ranks;
    if (each < 1) {
      throw Error(ErrorCode::co_residency,
                  concat(device.str(), " cannot run the blocks of ", ranks, " ranks at once"),
                  {.device = device.str()});
    }
    blocks = std::min(blocks, each);
  }
  return blocks;
}

cudaLaunchAttribute remote_domain() {
  cudaLaunchAttribute domain{};
  domain.id = cudaLaunchAttributeMemSyncDomain;
  domain.val.memSyncDomain = cudaLaunchMemSyncDomainRemote;
  return domain;
}

void launch_kernel(const WorkContext& context, const Kernel& kernel, std::int32_t blocks,
                   std::int32_t threads, void* params) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(kernel.shared_bytes);
  config.stream = static_cast<cudaStream_t>(context.native_stream);
  cudaLaunchAttribute domain = remote_domain();
  config.attrs = &domain;
  config.numAttrs = 1;
  void* parameters[] = {params};
  check_cuda(cuda_api().launch_kernel(&config, kernel.function, parameters), "cudaLaunchKernelEx",
             context.device->id().ordinal.value());
}

}  // namespace weft::collectives::cuda
