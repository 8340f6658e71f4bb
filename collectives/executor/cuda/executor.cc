#include "collectives/executor/cuda/executor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "collectives/executor/cuda/ring.h"
#include "core/base/mutex.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::collectives {
namespace {

using cuda::Kernel;
using cuda::RingParams;

constexpr std::int32_t kDefaultBlocks = 64;  // see bench/results: the link's rate on 2 x H200
constexpr std::int32_t kMostPieces = 8;
constexpr int kMaxDevices = 64;
constexpr int kBulkCapability = 9;  // the first major version with bulk copies

// What is asked of a device once: whether it has bulk copies, and how many blocks it runs at a
// time.
struct DeviceFacts {
  bool bulk = false;
  std::int32_t resident_blocks = 0;  // of the kernel that fits least often
};

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check_cuda(cuda_api().device_get_attribute(&value, which, device), "cudaDeviceGetAttribute",
             device);
  return value;
}

// Loads the kernel on the current device. Blocks of it that a multiprocessor holds.
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

DeviceFacts ask_device(int device) {
  const CurrentDevice current(device);
  DeviceFacts facts;
  facts.bulk = attribute(cudaDevAttrComputeCapabilityMajor, device) >= kBulkCapability;
  int blocks = load_kernel(cuda::ring_simple_kernel(), device);
  if (facts.bulk) blocks = std::min(blocks, load_kernel(cuda::ring_kernel(), device));
  facts.resident_blocks = blocks * attribute(cudaDevAttrMultiProcessorCount, device);
  return facts;
}

// The facts of a device; the first call loads the kernels there.
DeviceFacts device_facts(DeviceId id) {
  static Mutex& mutex = *new Mutex();
  static auto& known WEFT_THREAD_SAFETY(guarded_by(mutex)) =
      *new std::array<std::optional<DeviceFacts>, kMaxDevices>{};
  const int device = id.ordinal.value();
  if (device >= kMaxDevices) fail(ErrorCode::invalid_argument, id.str(), " is beyond cuda:63");
  const MutexLock lock(mutex);
  auto& facts = known[static_cast<std::size_t>(device)];
  if (!facts) facts = ask_device(device);
  return *facts;
}

template <class Visit>
void for_each_rank(const fabric::Fabric& fabric, const Visit& visit) {
  for (int r = 0; r < fabric.world().value(); ++r) visit(Rank(r), fabric.device(Rank(r)).id());
}

// May the bulk kernel run? Then on all ranks.
bool can_bulk(const fabric::Fabric& fabric, const Plan& plan) {
  bool can = true;
  for_each_rank(fabric, [&](Rank rank, DeviceId device) {
    const auto index = static_cast<std::size_t>(rank.value());
    const auto addresses = reinterpret_cast<std::uintptr_t>(plan.inputs[index]) |
                           reinterpret_cast<std::uintptr_t>(plan.outputs[index]);
    can = can && addresses % cuda::kRingAlign == 0 && device_facts(device).bulk;
  });
  return can;
}

struct Launch {
  RingParams params;
  bool bulk = false;
};

void launch(const WorkContext& context, const void* work_params) {
  Launch launch = *static_cast<const Launch*>(work_params);
  const Kernel kernel = launch.bulk ? cuda::ring_kernel() : cuda::ring_simple_kernel();
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(launch.params.tiling.blocks));
  config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(kernel.shared_bytes);
  config.stream = static_cast<cudaStream_t>(context.native_stream);
  // The kernel's system-wide fences need not wait for other kernels' writes on the device.
  cudaLaunchAttribute domain{};
  domain.id = cudaLaunchAttributeMemSyncDomain;
  domain.val.memSyncDomain = cudaLaunchMemSyncDomainRemote;
  config.attrs = &domain;
  config.numAttrs = launch.bulk ? 1 : 0;
  void* parameters[] = {&launch.params};
  check_cuda(cuda_api().launch_kernel(&config, kernel.function, parameters), "cudaLaunchKernelEx",
             context.device->id().ordinal.value());
}

}  // namespace

std::string cuda_refusal(const fabric::Fabric&, const Request& request, const CallOptions&,
                         Algorithm algorithm) {
  const bool ring = algorithm == Algorithm::ring;
  if (ring && request.call.collective == Collective::all_reduce) return "";
  return "it has no CUDA kernel yet";
}

schedule::TilingLimits cuda_limits(const fabric::Fabric& fabric, const Plan&,
                                   std::int32_t max_blocks) {
  const fabric::ArenaLayout& layout = fabric.arena(Rank(0)).layout;
  schedule::TilingLimits limits;
  limits.piece_bytes = cuda::kRingPieceBytes;
  limits.blocks = std::min(max_blocks > 0 ? max_blocks : kDefaultBlocks, layout.blocks);
  for_each_rank(fabric, [&](Rank, DeviceId device) {
    const int ranks = fabric.ranks_on(device);
    const std::int32_t each = device_facts(device).resident_blocks / ranks;
    if (each < 1) {
      throw Error(ErrorCode::co_residency,
                  concat(device.str(), " cannot run the blocks of ", ranks, " ranks at once"),
                  {.device = device.str()});
    }
    limits.blocks = std::min(limits.blocks, each);
  });
  // A step's pieces take two slots each (schedule/tiling.h).
  const std::int64_t pieces = layout.scratch_bytes / (2 * limits.piece_bytes);
  if (pieces < 1) {
    fail(ErrorCode::invalid_argument, "the fabric's scratch of ", layout.scratch_bytes,
         " bytes a rank is too small: the ring needs at least ", 2 * limits.piece_bytes);
  }
  limits.blocks = static_cast<std::int32_t>(std::min<std::int64_t>(limits.blocks, pieces));
  limits.pieces =
      static_cast<std::int32_t>(std::min<std::int64_t>(kMostPieces, pieces / limits.blocks));
  return limits;
}

void cuda_preload(const fabric::Fabric& fabric) {
  for_each_rank(fabric, [](Rank, DeviceId device) { device_facts(device); });
}

Work cuda_work(const fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  const int world = plan.world.value();
  const Rank next((rank.value() + 1) % world);
  const Rank previous((rank.value() + world - 1) % world);
  const auto index = static_cast<std::size_t>(rank.value());
  RingParams params;
  params.input = static_cast<const std::byte*>(plan.inputs[index]);
  params.output = static_cast<std::byte*>(plan.outputs[index]);
  params.next_output =
      static_cast<std::byte*>(plan.outputs[static_cast<std::size_t>(next.value())]);
  params.arena = fabric.arena(rank).base;
  params.next_arena = fabric.arena(next).base;
  params.previous_arena = fabric.arena(previous).base;
  params.records = fabric.fault_record(rank, 0);
  params.layout = fabric.arena(rank).layout;
  params.limits = plan.limits;
  params.tiling = plan.tiling;
  params.fault = plan.fault;
  params.rank = rank;
  params.world = plan.world;
  params.dtype = plan.dtype;
  params.op = plan.op;
  return Work::make("ring", launch, Launch{params, can_bulk(fabric, plan)});
}

}  // namespace weft::collectives
