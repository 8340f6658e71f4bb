// Every call weft makes to CUDA, in one table, so that tests can put a fake in its place.
//
// Invariants
//   1. Nothing in weft calls CUDA but through cuda_api() (kernels are launched through it too).
//   2. Runtime calls are linked statically; driver calls are looked up through the runtime. Nothing
//      needs a driver until the first call.
//   3. check() leaves no error behind: a failed call does not show up in a later one.
//
// Thread safety: the table is read-only while devices are in use.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/base/error.h"

namespace weft {

// What a stream is being captured into, and the nodes that the next one will follow.
struct CaptureState {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  cudaGraph_t graph = nullptr;
  const cudaGraphNode_t* last = nullptr;
  std::size_t count = 0;
};

struct CudaApi {
  // Runtime
  decltype(&cudaGetDeviceCount) get_device_count = nullptr;
  decltype(&cudaGetDevice) get_device = nullptr;
  decltype(&cudaSetDevice) set_device = nullptr;
  decltype(&cudaDeviceGetAttribute) device_get_attribute = nullptr;
  cudaError_t (*get_device_name)(char* name, std::size_t size, int device) = nullptr;
  cudaError_t (*malloc)(void** memory, std::size_t bytes) = nullptr;
  cudaError_t (*free)(void* memory) = nullptr;
  cudaError_t (*host_alloc)(void** memory, std::size_t bytes, unsigned flags) = nullptr;
  cudaError_t (*free_host)(void* memory) = nullptr;
  decltype(&cudaMemset) memset = nullptr;
  decltype(&cudaMemcpyAsync) memcpy_async = nullptr;
  decltype(&cudaMemcpyPeerAsync) memcpy_peer_async = nullptr;
  decltype(&cudaMemsetAsync) memset_async = nullptr;
  decltype(&cudaDeviceSynchronize) device_synchronize = nullptr;
  decltype(&cudaDeviceGetStreamPriorityRange) stream_priority_range = nullptr;
  decltype(&cudaStreamCreateWithPriority) stream_create_with_priority = nullptr;
  decltype(&cudaStreamDestroy) stream_destroy = nullptr;
  decltype(&cudaStreamQuery) stream_query = nullptr;
  decltype(&cudaStreamIsCapturing) stream_is_capturing = nullptr;
  decltype(&cudaStreamBeginCapture) stream_begin_capture = nullptr;
  decltype(&cudaStreamEndCapture) stream_end_capture = nullptr;
  decltype(&cudaStreamGetId) stream_get_id = nullptr;
  cudaError_t (*stream_get_flags)(cudaStream_t, unsigned* flags) = nullptr;
  cudaError_t (*capture_state)(cudaStream_t, CaptureState*) = nullptr;
  // What is captured next on the stream also follows these nodes.
  cudaError_t (*capture_follow)(cudaStream_t, cudaGraphNode_t* nodes, std::size_t count) = nullptr;
  cudaError_t (*graph_add_event_record)(cudaGraphNode_t*, cudaGraph_t, const cudaGraphNode_t* after,
                                        std::size_t count, cudaEvent_t) = nullptr;
  cudaError_t (*graph_add_edge)(cudaGraph_t, cudaGraphNode_t from, cudaGraphNode_t to) = nullptr;
  cudaError_t (*graph_remove_edge)(cudaGraph_t, cudaGraphNode_t from, cudaGraphNode_t to) = nullptr;
  cudaError_t (*user_object_create)(cudaUserObject_t*, void* thing, cudaHostFn_t drop,
                                    unsigned references, unsigned flags) = nullptr;
  cudaError_t (*user_object_release)(cudaUserObject_t, unsigned references) = nullptr;
  cudaError_t (*graph_retain_user_object)(cudaGraph_t, cudaUserObject_t, unsigned references,
                                          unsigned flags) = nullptr;
  cudaError_t (*graph_instantiate)(cudaGraphExec_t*, cudaGraph_t, unsigned long long) = nullptr;
  decltype(&cudaGraphLaunch) graph_launch = nullptr;
  decltype(&cudaThreadExchangeStreamCaptureMode) thread_exchange_stream_capture_mode = nullptr;
  decltype(&cudaGraphCreate) graph_create = nullptr;
  decltype(&cudaGraphAddKernelNode) graph_add_kernel_node = nullptr;
  decltype(&cudaGraphKernelNodeSetAttribute) graph_kernel_node_set_attribute = nullptr;
  decltype(&cudaGraphExecKernelNodeSetParams) graph_exec_kernel_node_set_params = nullptr;
  decltype(&cudaGraphDestroy) graph_destroy = nullptr;
  decltype(&cudaGraphExecDestroy) graph_exec_destroy = nullptr;
  cudaError_t (*event_elapsed_time)(float*, cudaEvent_t, cudaEvent_t) = nullptr;
  cudaError_t (*stream_wait_event)(cudaStream_t, cudaEvent_t, unsigned flags) = nullptr;
  cudaError_t (*event_create_with_flags)(cudaEvent_t*, unsigned flags) = nullptr;
  decltype(&cudaEventDestroy) event_destroy = nullptr;
  cudaError_t (*event_record)(cudaEvent_t, cudaStream_t) = nullptr;
  decltype(&cudaEventQuery) event_query = nullptr;
  decltype(&cudaDeviceCanAccessPeer) device_can_access_peer = nullptr;
  decltype(&cudaDeviceGetP2PAttribute) device_get_p2p_attribute = nullptr;
  decltype(&cudaDeviceEnablePeerAccess) device_enable_peer_access = nullptr;
  cudaError_t (*pointer_get_attributes)(cudaPointerAttributes*, const void*) = nullptr;
  decltype(&cudaMemPoolGetAccess) mem_pool_get_access = nullptr;
  decltype(&cudaMemPoolSetAccess) mem_pool_set_access = nullptr;
  cudaError_t (*func_get_attributes)(cudaFuncAttributes*, const void* function) = nullptr;
  cudaError_t (*func_set_attribute)(const void* function, cudaFuncAttribute, int value) = nullptr;
  cudaError_t (*occupancy)(int* blocks, const void* function, int threads,
                           std::size_t shared_bytes) = nullptr;
  cudaError_t (*launch_kernel)(const cudaLaunchConfig_t*, const void* function,
                               void** parameters) = nullptr;
  decltype(&cudaGetLastError) get_last_error = nullptr;
  decltype(&cudaGetErrorName) get_error_name = nullptr;
  decltype(&cudaGetErrorString) get_error_string = nullptr;

  // Driver; null where the driver has none.
  decltype(&cuMemGetAllocationGranularity) mem_get_granularity = nullptr;
  decltype(&cuMemAddressReserve) mem_address_reserve = nullptr;
  decltype(&cuMemAddressFree) mem_address_free = nullptr;
  decltype(&cuMemCreate) mem_create = nullptr;
  decltype(&cuMemRelease) mem_release = nullptr;
  decltype(&cuMemMap) mem_map = nullptr;
  decltype(&cuMemUnmap) mem_unmap = nullptr;
  decltype(&cuMemSetAccess) mem_set_access = nullptr;
  decltype(&cuMemGetAccess) mem_get_access = nullptr;
  decltype(&cuMemGetAddressRange) mem_get_address_range = nullptr;
  decltype(&cuPointerGetAttribute) pointer_get_attribute = nullptr;
  CUresult (*stream_get_device)(CUstream, CUdevice*) = nullptr;  // since CUDA 12.8
};

const CudaApi& cuda_api();
// Puts a table in place of the real one, or the real one back (null). For tests: no device may be
// in use.
void replace_cuda_api(const CudaApi* api);

// Throws what `status` means, if it is an error: OutOfMemory, DeviceLost or CudaError, with the
// call's name and CUDA's own words. `device` is the ordinal, or negative.
void check_cuda(cudaError_t status, const char* call, int device = -1);
// The same for the driver's calls.
void check_cuda(CUresult status, const char* call, int device = -1);

// While it lives, this thread's calls that must not come during a capture do not end one of another
// thread's, or of its own.
class OutsideCaptures {
 public:
  OutsideCaptures();
  ~OutsideCaptures();
  OutsideCaptures(const OutsideCaptures&) = delete;
  OutsideCaptures& operator=(const OutsideCaptures&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Makes a device the calling thread's current one, and puts the one before back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int ordinal);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int ordinal_;
  int previous_;
};

// A device that stays current on this thread, so that CurrentDevice for it asks and sets nothing,
// until it is released. Of several in one another only the first counts.
void hold_current_device(int ordinal);
void release_current_device() noexcept;

}  // namespace weft
