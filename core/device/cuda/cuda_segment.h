// A piece of a device's memory that chosen other devices can address: the driver's virtual memory
// calls.
//
// Invariant: a segment owns its physical memory, its addresses and their mapping; what is left
// after a failed step is given back.
#pragma once

#include <cstddef>
#include <set>

#include "core/device/cuda/cuda_api.h"

namespace weft {

class CudaSegment {
 public:
  // At least `bytes`, for `device` and `accessors`. Throws OutOfMemory, CudaError.
  CudaSegment(int device, std::size_t bytes, const std::set<int>& accessors);
  ~CudaSegment();
  CudaSegment(const CudaSegment&) = delete;
  CudaSegment& operator=(const CudaSegment&) = delete;

  void* address() const { return reinterpret_cast<void*>(address_); }
  std::size_t bytes() const { return bytes_; }
  // Lets one more device read and write it.
  void grant(int device);

 private:
  void release() noexcept;

  int device_;
  std::size_t bytes_ = 0;
  CUmemGenericAllocationHandle handle_ = 0;
  CUdeviceptr address_ = 0;
  bool created_ = false;
  bool mapped_ = false;
};

}  // namespace weft
