#include "core/device/cuda/cuda_api.h"

#include <atomic>

namespace weft {
namespace {

constexpr unsigned kDriverVersion = 12000;  // whose entry points are asked for
constexpr unsigned kStreamDeviceVersion = 12080;

template <class Function>
void find_driver_function(Function& function, const char* name, unsigned version = kDriverVersion) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const cudaError_t status =
      cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &result);
  if (status == cudaSuccess && result == cudaDriverEntryPointSuccess) {
    function = reinterpret_cast<Function>(found);
  } else {
    static_cast<void>(cudaGetLastError());
  }
}

cudaError_t device_name(char* name, std::size_t size, int device) {
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, device);
  for (std::size_t i = 0; i < size; ++i) name[i] = i + 1 < size ? properties.name[i] : '\0';
  return status;
}

// The edges that weft asks for and makes are plain ones.
#if CUDART_VERSION >= 13000
cudaError_t capture_state(cudaStream_t stream, CaptureState* state) {
  const cudaGraphEdgeData* edges = nullptr;
  return cudaStreamGetCaptureInfo(stream, &state->status, &state->id, &state->graph, &state->last,
                                  &edges, &state->count);
}
cudaError_t capture_follow(cudaStream_t stream, cudaGraphNode_t* nodes, std::size_t count) {
  return cudaStreamUpdateCaptureDependencies(stream, nodes, nullptr, count,
                                             cudaStreamAddCaptureDependencies);
}
cudaError_t graph_add_edge(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to) {
  return cudaGraphAddDependencies(graph, &from, &to, nullptr, 1);
}
cudaError_t graph_remove_edge(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to) {
  return cudaGraphRemoveDependencies(graph, &from, &to, nullptr, 1);
}
#else
cudaError_t capture_state(cudaStream_t stream, CaptureState* state) {
  return cudaStreamGetCaptureInfo_v2(stream, &state->status, &state->id, &state->graph,
                                     &state->last, &state->count);
}
cudaError_t capture_follow(cudaStream_t stream, cudaGraphNode_t* nodes, std::size_t count) {
  return cudaStreamUpdateCaptureDependencies(stream, nodes, count,
                                             cudaStreamAddCaptureDependencies);
}
cudaError_t graph_add_edge(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to) {
  return cudaGraphAddDependencies(graph, &from, &to, 1);
}
cudaError_t graph_remove_edge(cudaGraph_t graph, cudaGraphNode_t from, cudaGraphNode_t to) {
  return cudaGraphRemoveDependencies(graph, &from, &to, 1);
}
#endif

void fill_runtime(CudaApi& api) {
  api.get_device_count = cudaGetDeviceCount;
  api.get_device = cudaGetDevice;
  api.set_device = cudaSetDevice;
  api.device_get_attribute = cudaDeviceGetAttribute;
  api.get_device_name = device_name;
  api.malloc = cudaMalloc;
  api.free = cudaFree;
  api.host_alloc = cudaHostAlloc;
  api.free_host = cudaFreeHost;
  api.memset = cudaMemset;
  api.memcpy_async = cudaMemcpyAsync;
  api.memcpy_peer_async = cudaMemcpyPeerAsync;
  api.memset_async = cudaMemsetAsync;
  api.device_synchronize = cudaDeviceSynchronize;
  api.stream_priority_range = cudaDeviceGetStreamPriorityRange;
  api.stream_create_with_priority = cudaStreamCreateWithPriority;
  api.stream_destroy = cudaStreamDestroy;
  api.stream_query = cudaStreamQuery;
  api.stream_is_capturing = cudaStreamIsCapturing;
  api.stream_begin_capture = cudaStreamBeginCapture;
  api.stream_end_capture = cudaStreamEndCapture;
  api.stream_get_id = cudaStreamGetId;
  api.stream_get_flags = cudaStreamGetFlags;
  api.capture_state = capture_state;
  api.capture_follow = capture_follow;
  api.graph_add_event_record = cudaGraphAddEventRecordNode;
  api.graph_add_edge = graph_add_edge;
  api.graph_remove_edge = graph_remove_edge;
  api.user_object_create = cudaUserObjectCreate;
  api.user_object_release = cudaUserObjectRelease;
  api.graph_retain_user_object = cudaGraphRetainUserObject;
  api.graph_instantiate = cudaGraphInstantiate;
  api.graph_launch = cudaGraphLaunch;
  api.thread_exchange_stream_capture_mode = cudaThreadExchangeStreamCaptureMode;
  api.graph_create = cudaGraphCreate;
  api.graph_add_kernel_node = cudaGraphAddKernelNode;
  api.graph_kernel_node_set_attribute = cudaGraphKernelNodeSetAttribute;
  api.graph_exec_kernel_node_set_params = cudaGraphExecKernelNodeSetParams;
  api.graph_destroy = cudaGraphDestroy;
  api.graph_exec_destroy = cudaGraphExecDestroy;
  api.event_elapsed_time = cudaEventElapsedTime;
  api.stream_wait_event = cudaStreamWaitEvent;
  api.event_create_with_flags = cudaEventCreateWithFlags;
  api.event_destroy = cudaEventDestroy;
  api.event_record = cudaEventRecord;
  api.event_query = cudaEventQuery;
  api.pointer_get_attributes = cudaPointerGetAttributes;
  api.mem_pool_get_access = cudaMemPoolGetAccess;
  api.mem_pool_set_access = cudaMemPoolSetAccess;
  api.func_get_attributes = cudaFuncGetAttributes;
  api.func_set_attribute = cudaFuncSetAttribute;
  api.occupancy = cudaOccupancyMaxActiveBlocksPerMultiprocessor;
  api.launch_kernel = cudaLaunchKernelExC;
  api.get_last_error = cudaGetLastError;
  api.get_error_name = cudaGetErrorName;
  api.get_error_string = cudaGetErrorString;
}

void fill_peers(CudaApi& api) {
  api.device_can_access_peer = cudaDeviceCanAccessPeer;
  api.device_get_p2p_attribute = cudaDeviceGetP2PAttribute;
  api.device_enable_peer_access = cudaDeviceEnablePeerAccess;
}

void fill_driver(CudaApi& api) {
  find_driver_function(api.mem_get_granularity, "cuMemGetAllocationGranularity");
  find_driver_function(api.mem_address_reserve, "cuMemAddressReserve");
  find_driver_function(api.mem_address_free, "cuMemAddressFree");
  find_driver_function(api.mem_create, "cuMemCreate");
  find_driver_function(api.mem_release, "cuMemRelease");
  find_driver_function(api.mem_map, "cuMemMap");
  find_driver_function(api.mem_unmap, "cuMemUnmap");
  find_driver_function(api.mem_set_access, "cuMemSetAccess");
  find_driver_function(api.mem_get_access, "cuMemGetAccess");
  find_driver_function(api.mem_get_address_range, "cuMemGetAddressRange");
  find_driver_function(api.pointer_get_attribute, "cuPointerGetAttribute");
  find_driver_function(api.stream_get_device, "cuStreamGetDevice", kStreamDeviceVersion);
}

const CudaApi& real_api() {
  static const CudaApi& api = *[] {
    auto* made = new CudaApi;
    fill_runtime(*made);
    fill_peers(*made);
    fill_driver(*made);
    return made;
  }();
  return api;
}

std::atomic<const CudaApi*> replacement{nullptr};

// Errors after which the context, and with it the device, is of no use to this process.
bool is_fatal(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorDevicesUnavailable:
      return true;
    default:
      return false;
  }
}

}  // namespace

const CudaApi& cuda_api() {
  const CudaApi* fake = replacement.load(std::memory_order_relaxed);
  return fake ? *fake : real_api();
}

void replace_cuda_api(const CudaApi* api) { replacement.store(api, std::memory_order_relaxed); }

void check_cuda(cudaError_t status, const char* call, int device) {
  if (status == cudaSuccess) return;
  const CudaApi& api = cuda_api();
  static_cast<void>(api.get_last_error());
  ErrorContext context;
  if (device >= 0) context.device = concat("cuda:", device);
  const ErrorCode code = status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory
                         : is_fatal(status)                  ? ErrorCode::device_lost
                                                             : ErrorCode::cuda_error;
  const std::string message =
      concat(call, device >= 0 ? " on " : "", context.device.value_or(""),
             " failed: ", api.get_error_string(status), " (", api.get_error_name(status), ", ",
             static_cast<int>(status), ")");
  throw Error(code, message, std::move(context));
}

void check_cuda(CUresult status, const char* call, int device) {
  // The runtime numbers its errors as the driver does.
  check_cuda(static_cast<cudaError_t>(status), call, device);
}

namespace {

// Makes it current, and says which was.
int exchange_device(int ordinal) {
  int previous = -1;
  check_cuda(cuda_api().get_device(&previous), "cudaGetDevice", ordinal);
  if (previous != ordinal) check_cuda(cuda_api().set_device(ordinal), "cudaSetDevice", ordinal);
  return previous;
}

void restore_device(int previous, int ordinal) noexcept {
  if (previous != ordinal) static_cast<void>(cuda_api().set_device(previous));
}

struct Held {
  int depth = 0;
  int ordinal = -1;
  int previous = -1;
};
thread_local Held held;

}  // namespace

OutsideCaptures::OutsideCaptures() {
  check_cuda(cuda_api().thread_exchange_stream_capture_mode(&mode_),
             "cudaThreadExchangeStreamCaptureMode");
}

OutsideCaptures::~OutsideCaptures() {
  static_cast<void>(cuda_api().thread_exchange_stream_capture_mode(&mode_));
}

CurrentDevice::CurrentDevice(int ordinal)
    : ordinal_(ordinal), previous_(held.ordinal == ordinal ? ordinal : exchange_device(ordinal)) {}

CurrentDevice::~CurrentDevice() { restore_device(previous_, ordinal_); }

void hold_current_device(int ordinal) {
  if (held.depth == 0) held = {0, ordinal, exchange_device(ordinal)};
  ++held.depth;
}

void release_current_device() noexcept {
  if (--held.depth > 0) return;
  restore_device(held.previous, held.ordinal);
  held = {};
}

}  // namespace weft
