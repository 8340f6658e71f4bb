#include "core/device/cuda/cuda_device.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "core/device/cuda_hook.h"

namespace weft {
namespace {

constexpr auto kEagerWait = std::chrono::microseconds(100);  // before the first sleep
constexpr auto kFirstSleep = std::chrono::microseconds(10);
constexpr auto kLongestSleep = std::chrono::milliseconds(1);

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
cudaEvent_t native(Event event) { return static_cast<cudaEvent_t>(event.handle); }

CudaDevice& cuda_peer(DeviceId id) {
  return static_cast<CudaDevice&>(cuda_device(id.ordinal.value()));
}

}  // namespace

int cuda_device_count() noexcept {
  static const int count = [] {
    int found = 0;
    if (cuda_api().get_device_count(&found) != cudaSuccess) {
      static_cast<void>(cuda_api().get_last_error());
      return 0;
    }
    return found;
  }();
  return count;
}

Device& cuda_device(int ordinal) {
  static const auto& devices = *[] {
    auto* made = new std::vector<CudaDevice*>;
    for (int i = 0; i < cuda_device_count(); ++i) made->push_back(new CudaDevice(i));
    return made;
  }();
  return *devices.at(static_cast<std::size_t>(ordinal));
}

int exchange_current_cuda_device(int ordinal) noexcept {
  if (ordinal < 0 || ordinal >= cuda_device_count()) return -1;
  int previous = -1;
  const CudaApi& api = cuda_api();
  if (api.get_device(&previous) != cudaSuccess || api.set_device(ordinal) != cudaSuccess) {
    static_cast<void>(api.get_last_error());
    return -1;
  }
  return previous;
}

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal) {}

std::string CudaDevice::name() const {
  std::array<char, 256> text{};
  check_cuda(cuda_api().get_device_name(text.data(), text.size(), ordinal_),
             "cudaGetDeviceProperties", ordinal_);
  return text.data();
}

std::int32_t CudaDevice::generation() const {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    check_cuda(cuda_api().device_get_attribute(&value, which, ordinal_), "cudaDeviceGetAttribute",
               ordinal_);
    return value;
  };
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
         attribute(cudaDevAttrComputeCapabilityMinor);
}

void* CudaDevice::allocate(Bytes bytes) {
  if (bytes.value() == 0) return nullptr;
  const CurrentDevice current(ordinal_);
  void* memory = nullptr;
  check_cuda(cuda_api().malloc(&memory, static_cast<std::size_t>(bytes.value())), "cudaMalloc",
             ordinal_);
  return memory;
}

void CudaDevice::deallocate(void* memory) noexcept {
  if (memory) static_cast<void>(cuda_api().free(memory));
}

void* CudaDevice::allocate_shared(Bytes bytes) {
  if (bytes.value() == 0) return nullptr;
  const CurrentDevice current(ordinal_);
  const MutexLock lock(mutex_);
  // Initialises the device's context, which the driver's calls need.
  check_cuda(cuda_api().free(nullptr), "cudaFree", ordinal_);
  std::map<void*, CudaSegment> made;
  const auto size = static_cast<std::size_t>(bytes.value());
  CudaSegment& segment = made.try_emplace(nullptr, ordinal_, size, accessors_).first->second;
  void* address = segment.address();
  check_cuda(cuda_api().memset(address, 0, segment.bytes()), "cudaMemset", ordinal_);
  check_cuda(cuda_api().device_synchronize(), "cudaDeviceSynchronize", ordinal_);
  auto node = made.extract(made.begin());
  node.key() = address;
  segments_.insert(std::move(node));
  return address;
}

void CudaDevice::deallocate_shared(void* memory) noexcept {
  const MutexLock lock(mutex_);
  segments_.erase(memory);
}

void* CudaDevice::allocate_pinned(Bytes bytes) {
  if (bytes.value() == 0) return nullptr;
  const CurrentDevice current(ordinal_);
  void* memory = nullptr;
  const auto size = static_cast<std::size_t>(bytes.value());
  check_cuda(cuda_api().host_alloc(&memory, size, cudaHostAllocPortable | cudaHostAllocMapped),
             "cudaHostAlloc", ordinal_);
  std::memset(memory, 0, size);
  return memory;
}

void CudaDevice::deallocate_pinned(void* memory) noexcept {
  if (memory) static_cast<void>(cuda_api().free_host(memory));
}

Stream CudaDevice::create_stream(StreamPriority priority) {
  const CurrentDevice current(ordinal_);
  int least = 0;
  int greatest = 0;
  check_cuda(cuda_api().stream_priority_range(&least, &greatest),
             "cudaDeviceGetStreamPriorityRange", ordinal_);
  cudaStream_t stream = nullptr;
  const int level = priority == StreamPriority::high ? greatest : least;
  check_cuda(cuda_api().stream_create_with_priority(&stream, cudaStreamNonBlocking, level),
             "cudaStreamCreateWithPriority", ordinal_);
  return {stream};
}

void CudaDevice::destroy_stream(Stream stream) noexcept {
  if (stream.handle) static_cast<void>(cuda_api().stream_destroy(native(stream)));
}

bool CudaDevice::is_idle(Stream stream) {
  const CurrentDevice current(ordinal_);
  const OutsideCaptures outside;  // as in query()
  const cudaError_t status = cuda_api().stream_query(native(stream));
  if (status == cudaErrorNotReady) {
    static_cast<void>(cuda_api().get_last_error());
    return false;
  }
  check_cuda(status, "cudaStreamQuery", ordinal_);
  return true;
}

Event CudaDevice::create_event() {
  const CurrentDevice current(ordinal_);
  cudaEvent_t event = nullptr;
  check_cuda(cuda_api().event_create_with_flags(&event, cudaEventDisableTiming),
             "cudaEventCreateWithFlags", ordinal_);
  return {event};
}

void CudaDevice::destroy_event(Event event) noexcept {
  if (event.handle) static_cast<void>(cuda_api().event_destroy(native(event)));
}

void CudaDevice::submit(Stream stream, const Work& work) {
  const CurrentDevice current(ordinal_);
  work.run({this, stream.handle}, work.params.data());
}

void CudaDevice::copy(Stream stream, void* to, const void* from, Bytes bytes) {
  if (bytes.value() == 0) return;
  const CurrentDevice current(ordinal_);
  const cudaError_t status = cuda_api().memcpy_async(
      to, from, static_cast<std::size_t>(bytes.value()), cudaMemcpyDefault, native(stream));
  if (status == cudaErrorInvalidValue && copy_to_unreachable(stream, to, from, bytes)) return;
  check_cuda(status, "cudaMemcpyAsync", ordinal_);
}

void CudaDevice::fill(Stream stream, void* to, std::uint8_t value, Bytes bytes) {
  if (bytes.value() == 0) return;
  const CurrentDevice current(ordinal_);
  check_cuda(
      cuda_api().memset_async(to, value, static_cast<std::size_t>(bytes.value()), native(stream)),
      "cudaMemsetAsync", ordinal_);
}

void CudaDevice::record(Event event, Stream stream) {
  const CurrentDevice current(ordinal_);
  check_cuda(cuda_api().event_record(native(event), native(stream)), "cudaEventRecord", ordinal_);
}

void CudaDevice::wait(Stream stream, Event event) {
  const CurrentDevice current(ordinal_);
  check_cuda(cuda_api().stream_wait_event(native(stream), native(event), cudaEventWaitDefault),
             "cudaStreamWaitEvent", ordinal_);
}

Event CudaDevice::create_timed_event() {
  const CurrentDevice current(ordinal_);
  cudaEvent_t event = nullptr;
  check_cuda(cuda_api().event_create_with_flags(&event, cudaEventDefault),
             "cudaEventCreateWithFlags", ordinal_);
  return {event};
}

double CudaDevice::elapsed_us(Event start, Event end) {
  float milliseconds = 0;
  check_cuda(cuda_api().event_elapsed_time(&milliseconds, native(start), native(end)),
             "cudaEventElapsedTime", ordinal_);
  return 1e3 * static_cast<double>(milliseconds);
}

bool CudaDevice::query(Event event) {
  // Somebody may be capturing a stream, on this thread or another: to ask is no part of that, and
  // must not end it.
  const OutsideCaptures outside;
  const cudaError_t status = cuda_api().event_query(native(event));
  if (status == cudaErrorNotReady) {
    static_cast<void>(cuda_api().get_last_error());
    return false;
  }
  check_cuda(status, "cudaEventQuery", ordinal_);
  return true;
}

bool CudaDevice::synchronize(Event event, Deadline deadline) {
  const Deadline eager = Deadline::after_ns(std::chrono::nanoseconds(kEagerWait).count());
  std::chrono::nanoseconds nap = kFirstSleep;
  while (!query(event)) {
    if (deadline.passed()) return false;
    if (!eager.passed()) continue;
    std::this_thread::sleep_for(
        std::min(nap, std::chrono::nanoseconds(std::max<std::int64_t>(deadline.left_ns(), 0))));
    nap = std::min<std::chrono::nanoseconds>(nap * 2, kLongestSleep);
  }
  return true;
}

bool CudaDevice::can_access(DeviceId peer) const {
  if (peer == id()) return true;
  if (peer.kind != DeviceKind::cuda) return false;
  int yes = 0;
  check_cuda(cuda_api().device_can_access_peer(&yes, ordinal_, peer.ordinal.value()),
             "cudaDeviceCanAccessPeer", ordinal_);
  return yes != 0;
}

void CudaDevice::grant(int accessor) {
  const MutexLock lock(mutex_);
  if (accessors_.contains(accessor)) return;
  for (auto& [address, segment] : segments_) segment.grant(accessor);
  accessors_.insert(accessor);
}

void CudaDevice::enable_peer(DeviceId peer) {
  if (peer == id()) return;
  if (!can_access(peer)) {
    throw Error(ErrorCode::peer_access,
                concat(id().str(), " cannot access the memory of ", peer.str()),
                {.device = id().str()});
  }
  const int ordinal = peer.ordinal.value();
  {
    const MutexLock lock(mutex_);
    if (peers_.contains(ordinal)) return;
  }
  const CurrentDevice current(ordinal_);
  const cudaError_t status = cuda_api().device_enable_peer_access(ordinal, 0);
  if (status == cudaErrorPeerAccessAlreadyEnabled) {
    static_cast<void>(cuda_api().get_last_error());
  } else {
    check_cuda(status, "cudaDeviceEnablePeerAccess", ordinal_);
  }
  cuda_peer(peer).grant(ordinal_);
  const MutexLock lock(mutex_);
  peers_.insert(ordinal);
}

}  // namespace weft
