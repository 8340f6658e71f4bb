#include "core/device/cuda/cuda_segment.h"

namespace weft {

CudaSegment::CudaSegment(int device, std::size_t bytes, const std::set<int>& accessors)
    : device_(device) {
  const CudaApi& api = cuda_api();
  if (!api.mem_create || !api.mem_map) {
    fail(ErrorCode::cuda_error, "the CUDA driver has no virtual memory calls (cuMemCreate)");
  }
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  std::size_t granularity = 0;
  try {
    check_cuda(
        api.mem_get_granularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        "cuMemGetAllocationGranularity", device);
    bytes_ = (bytes + granularity - 1) / granularity * granularity;
    check_cuda(api.mem_create(&handle_, bytes_, &properties, 0), "cuMemCreate", device);
    created_ = true;
    check_cuda(api.mem_address_reserve(&address_, bytes_, granularity, 0, 0), "cuMemAddressReserve",
               device);
    check_cuda(api.mem_map(address_, bytes_, 0, handle_, 0), "cuMemMap", device);
    mapped_ = true;
    grant(device);
    for (int accessor : accessors) grant(accessor);
  } catch (...) {
    release();
    throw;
  }
}

CudaSegment::~CudaSegment() { release(); }

void CudaSegment::release() noexcept {
  const CudaApi& api = cuda_api();
  if (mapped_) static_cast<void>(api.mem_unmap(address_, bytes_));
  if (address_ != 0) static_cast<void>(api.mem_address_free(address_, bytes_));
  if (created_) static_cast<void>(api.mem_release(handle_));
  mapped_ = created_ = false;
  address_ = 0;
}

void CudaSegment::grant(int device) {
  CUmemAccessDesc access{};
  access.location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  check_cuda(cuda_api().mem_set_access(address_, bytes_, &access, 1), "cuMemSetAccess", device);
}

}  // namespace weft
