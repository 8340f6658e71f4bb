// Whose memory is it, and who may touch it. Peer access covers what cudaMalloc gave; memory pools
// and mapped memory have rights of their own, which their users seldom give to peers.
#include "core/device/cuda/cuda_api.h"
#include "core/device/cuda/cuda_device.h"

namespace weft {
namespace {

CUdeviceptr address_of(const void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }

cudaMemLocation location_of(int device) {
  cudaMemLocation location{};
  location.type = cudaMemLocationTypeDevice;
  location.id = device;
  return location;
}

// May `device` use memory of this pool? `grant`: let it, if it may not.
bool is_pool_open(CUmemoryPool pool, int device, bool grant) {
  const CudaApi& api = cuda_api();
  cudaMemLocation here = location_of(device);
  cudaMemAccessFlags flags = cudaMemAccessFlagsProtNone;
  check_cuda(api.mem_pool_get_access(&flags, pool, &here), "cudaMemPoolGetAccess", device);
  if (flags == cudaMemAccessFlagsProtReadWrite) return true;
  if (!grant) return false;
  const cudaMemAccessDesc wanted{here, cudaMemAccessFlagsProtReadWrite};
  if (api.mem_pool_set_access(pool, &wanted, 1) == cudaSuccess) return true;
  static_cast<void>(api.get_last_error());
  return false;
}

// The same of mapped memory, which may be of several mappings. The owner's device is current.
bool is_mapped_for(int device, CUdeviceptr begin, CUdeviceptr end, bool grant) {
  const CudaApi& api = cuda_api();
  CUmemLocation here{CU_MEM_LOCATION_TYPE_DEVICE, device};
  for (CUdeviceptr at = begin; at < end;) {
    CUdeviceptr mapping = 0;
    std::size_t bytes = 0;
    if (api.mem_get_address_range(&mapping, &bytes, at) != CUDA_SUCCESS) return false;
    unsigned long long flags = 0;
    const bool known = api.mem_get_access(&flags, &here, at) == CUDA_SUCCESS;
    if (!known || flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
      const CUmemAccessDesc wanted{here, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
      if (!grant || api.mem_set_access(mapping, bytes, &wanted, 1) != CUDA_SUCCESS) return false;
    }
    at = mapping + bytes;
  }
  return true;
}

// What cudaMalloc and its like gave: no memory pool's, and not mapped.
bool is_plain(CUdeviceptr address) {
  const CudaApi& api = cuda_api();
  if (!api.pointer_get_attribute) return false;
  CUmemoryPool pool = nullptr;
  static_cast<void>(api.pointer_get_attribute(&pool, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, address));
  int plain = 0;
  static_cast<void>(
      api.pointer_get_attribute(&plain, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, address));
  return !pool && plain != 0;
}

}  // namespace

std::optional<DeviceId> CudaDevice::owner_of(const void* memory) const {
  cudaPointerAttributes attributes{};
  const cudaError_t status = cuda_api().pointer_get_attributes(&attributes, memory);
  if (status == cudaErrorInvalidValue) {
    static_cast<void>(cuda_api().get_last_error());
    return std::nullopt;
  }
  check_cuda(status, "cudaPointerGetAttributes", ordinal_);
  const bool device =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  if (!device) return std::nullopt;
  return DeviceId{DeviceKind::cuda, DeviceOrdinal(attributes.device)};
}

Allocation CudaDevice::allocation_of(const void* memory) const {
  const CudaApi& api = cuda_api();
  if (!api.mem_get_address_range) return {};
  const OutsideCaptures outside;
  const CurrentDevice current(ordinal_);
  CUdeviceptr begin = 0;
  std::size_t bytes = 0;
  if (api.mem_get_address_range(&begin, &bytes, address_of(memory)) != CUDA_SUCCESS) return {};
  return {{reinterpret_cast<const std::byte*>(begin), bytes}, is_plain(address_of(memory))};
}

std::optional<std::string> CudaDevice::access_problem(const void* memory, Bytes bytes) const {
  return access_problem(memory, bytes, false);
}

std::optional<std::string> CudaDevice::make_reachable(const void* memory, Bytes bytes) {
  return access_problem(memory, bytes, true);
}

std::optional<std::string> CudaDevice::access_problem(const void* memory, Bytes bytes,
                                                      bool grant) const {
  if (bytes.value() == 0) return std::nullopt;
  const OutsideCaptures outside;  // what is asked here may end one that this thread has begun
  const auto owner = owner_of(memory);
  const auto last = owner_of(static_cast<const std::byte*>(memory) + bytes.value() - 1);
  if (!owner) return "it is host memory, or memory that CUDA does not know";
  if (last != owner) return concat("it starts in the memory of ", owner->str(), " and leaves it");
  if (*owner == id()) return std::nullopt;
  {
    const MutexLock lock(mutex_);
    if (!peers_.contains(owner->ordinal.value())) {
      return concat("it belongs to ", owner->str(), ", to which ", id().str(), " has no access");
    }
  }
  return peer_problem(memory, bytes, owner->ordinal.value(), grant);
}

std::optional<std::string> CudaDevice::peer_problem(const void* memory, Bytes bytes, int owner,
                                                    bool grant) const {
  const CudaApi& api = cuda_api();
  if (!api.pointer_get_attribute) return std::nullopt;
  const CUdeviceptr address = address_of(memory);
  CUmemoryPool pool = nullptr;
  static_cast<void>(api.pointer_get_attribute(&pool, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, address));
  if (pool) {
    if (is_pool_open(pool, ordinal_, grant)) return std::nullopt;
    return concat("it comes from a memory pool of cuda:", owner, " that is not open to ",
                  id().str());
  }
  int plain = 1;
  static_cast<void>(
      api.pointer_get_attribute(&plain, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, address));
  if (plain != 0 || !api.mem_get_access || !api.mem_get_address_range) return std::nullopt;
  const CurrentDevice current(owner);
  if (is_mapped_for(ordinal_, address, address + static_cast<CUdeviceptr>(bytes.value()), grant)) {
    return std::nullopt;
  }
  return concat("it is mapped memory of cuda:", owner, " that is not mapped for ", id().str());
}

bool CudaDevice::copy_to_unreachable(Stream stream, void* to, const void* from, Bytes bytes) {
  static_cast<void>(cuda_api().get_last_error());
  const auto target = owner_of(to);
  const auto source = owner_of(from);
  if (!target || !source || *target == *source || is_capturing(stream)) return false;
  check_cuda(cuda_api().memcpy_peer_async(
                 to, target->ordinal.value(), from, source->ordinal.value(),
                 static_cast<std::size_t>(bytes.value()), static_cast<cudaStream_t>(stream.handle)),
             "cudaMemcpyPeerAsync", ordinal_);
  return true;
}

}  // namespace weft
