// Streams of the caller that are being captured into graphs, and graphs of weft's own.
#include <memory>

#include "core/device/cuda/cuda_device.h"

namespace weft {
namespace {

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

// Is it the default stream, which every device has under the same names?
bool is_legacy(Stream stream) {
  return stream.handle == nullptr || native(stream) == cudaStreamLegacy;
}

}  // namespace

bool CudaDevice::is_capturing(Stream stream) {
  const CurrentDevice current(ordinal_);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cuda_api().stream_is_capturing(native(stream), &status), "cudaStreamIsCapturing",
             ordinal_);
  return status != cudaStreamCaptureStatusNone;
}

void CudaDevice::begin_capture(Stream stream) {
  const CurrentDevice current(ordinal_);
  check_cuda(cuda_api().stream_begin_capture(native(stream), cudaStreamCaptureModeThreadLocal),
             "cudaStreamBeginCapture", ordinal_);
}

DeviceGraph CudaDevice::end_capture(Stream stream) {
  const CurrentDevice current(ordinal_);
  cudaGraph_t graph = nullptr;
  check_cuda(cuda_api().stream_end_capture(native(stream), &graph), "cudaStreamEndCapture",
             ordinal_);
  cudaGraphExec_t ready = nullptr;
  const cudaError_t status = cuda_api().graph_instantiate(&ready, graph, 0);
  static_cast<void>(cuda_api().graph_destroy(graph));
  check_cuda(status, "cudaGraphInstantiate", ordinal_);
  return {ready};
}

void CudaDevice::keep_with_capture(Stream stream, std::shared_ptr<void> thing) {
  const CurrentDevice current(ordinal_);
  const CudaApi& api = cuda_api();
  CaptureState state;
  check_cuda(api.capture_state(native(stream), &state), "cudaStreamGetCaptureInfo", ordinal_);
  auto held = std::make_unique<std::shared_ptr<void>>(std::move(thing));
  const cudaHostFn_t drop = [](void* given) { delete static_cast<std::shared_ptr<void>*>(given); };
  cudaUserObject_t object = nullptr;
  check_cuda(api.user_object_create(&object, held.get(), drop, 1, cudaUserObjectNoDestructorSync),
             "cudaUserObjectCreate", ordinal_);
  static_cast<void>(held.release());  // the object's from now on
  const cudaError_t status =
      api.graph_retain_user_object(state.graph, object, 1, cudaGraphUserObjectMove);
  if (status != cudaSuccess) static_cast<void>(api.user_object_release(object, 1));
  check_cuda(status, "cudaGraphRetainUserObject", ordinal_);
}

void CudaDevice::launch(Stream stream, DeviceGraph graph) {
  const CurrentDevice current(ordinal_);
  check_cuda(cuda_api().graph_launch(static_cast<cudaGraphExec_t>(graph.handle), native(stream)),
             "cudaGraphLaunch", ordinal_);
}

void CudaDevice::destroy_graph(DeviceGraph graph) noexcept {
  if (!graph.handle) return;
  static_cast<void>(cuda_api().graph_exec_destroy(static_cast<cudaGraphExec_t>(graph.handle)));
}

// The first work of a rank in a capture waits for the rank's operations outside of it, by an event
// that is read when the graph runs; others follow the one before.
void CudaDevice::enter_capture(Stream stream, CaptureLink& link) {
  const CurrentDevice current(ordinal_);
  const CudaApi& api = cuda_api();
  CaptureState state;
  check_cuda(api.capture_state(native(stream), &state), "cudaStreamGetCaptureInfo", ordinal_);
  if (state.id != link.capture) {
    link.capture = state.id;
    link.end = nullptr;
    link.last.clear();
    check_cuda(api.stream_wait_event(native(stream), static_cast<cudaEvent_t>(link.event.handle),
                                     cudaEventWaitExternal),
               "cudaStreamWaitEvent", ordinal_);
    return;
  }
  std::vector<cudaGraphNode_t> nodes;
  for (void* node : link.last) nodes.push_back(static_cast<cudaGraphNode_t>(node));
  check_cuda(api.capture_follow(native(stream), nodes.data(), nodes.size()),
             "cudaStreamUpdateCaptureDependencies", ordinal_);
}

// One node records the event; it is moved behind the last work.
void CudaDevice::leave_capture(Stream stream, CaptureLink& link) {
  const CurrentDevice current(ordinal_);
  const CudaApi& api = cuda_api();
  CaptureState state;
  check_cuda(api.capture_state(native(stream), &state), "cudaStreamGetCaptureInfo", ordinal_);
  auto* end = static_cast<cudaGraphNode_t>(link.end);
  if (!end) {
    check_cuda(api.graph_add_event_record(&end, state.graph, state.last, state.count,
                                          static_cast<cudaEvent_t>(link.event.handle)),
               "cudaGraphAddEventRecordNode", ordinal_);
    link.end = end;
  } else {
    for (void* node : link.last) {
      check_cuda(api.graph_remove_edge(state.graph, static_cast<cudaGraphNode_t>(node), end),
                 "cudaGraphRemoveDependencies", ordinal_);
    }
    for (std::size_t i = 0; i < state.count; ++i) {
      check_cuda(api.graph_add_edge(state.graph, state.last[i], end), "cudaGraphAddDependencies",
                 ordinal_);
    }
  }
  link.last.assign(state.last, state.last + state.count);
}

std::uint64_t CudaDevice::id_of(Stream stream) {
  if (stream.handle == nullptr) return 0;
  const CurrentDevice current(ordinal_);
  unsigned long long id = 0;
  check_cuda(cuda_api().stream_get_id(native(stream), &id), "cudaStreamGetId", ordinal_);
  return id + 1;
}

std::optional<std::string> CudaDevice::stream_problem(Stream stream) const {
  if (native(stream) == cudaStreamPerThread) {
    return "the per-thread default stream is another stream on every thread, and operations are "
           "launched on any; give a stream that was created";
  }
  if (is_legacy(stream) || !cuda_api().stream_get_device) return std::nullopt;
  CUdevice device = ordinal_;
  // One that CUDA does not know is refused by what is put on it.
  static_cast<void>(cuda_api().stream_get_device(native(stream), &device));
  if (device == ordinal_) return std::nullopt;
  return concat("it is a stream of cuda:", device, ", not of ", id().str());
}

bool CudaDevice::follows_default_stream(Stream stream) const {
  if (is_legacy(stream)) return true;
  const CurrentDevice current(ordinal_);
  unsigned flags = 0;
  check_cuda(cuda_api().stream_get_flags(native(stream), &flags), "cudaStreamGetFlags", ordinal_);
  return (flags & cudaStreamNonBlocking) == 0;
}

}  // namespace weft
