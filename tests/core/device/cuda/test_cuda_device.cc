// The CUDA device against a fake driver: which errors come out, and what is given back after a
// failure.
#include <doctest/doctest.h>

#include <cstring>
#include <optional>
#include <string>

#include "core/device/cuda/cuda_device.h"

namespace weft {
namespace {

// What the fake answers, and what it was asked. One at a time: tests run in one thread.
struct Driver {
  cudaError_t malloc = cudaSuccess;
  cudaError_t fill = cudaSuccess;
  cudaError_t event_query = cudaSuccess;
  cudaError_t stream_query = cudaSuccess;
  cudaError_t enable_peer = cudaSuccess;
  cudaError_t attribute = cudaSuccess;
  cudaError_t pending = cudaSuccess;  // CUDA's last error
  CUresult create = CUDA_SUCCESS;
  CUresult map = CUDA_SUCCESS;
  CUresult grant = CUDA_SUCCESS;
  cudaMemoryType memory_type = cudaMemoryTypeDevice;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  int owner = 0;
  int stream_device = 0;
  unsigned stream_flags = cudaStreamDefault;
  bool plain = true;  // memory of cudaMalloc
  int current = 3;
  int asked = 0;         // which device is current
  int handles = 0;       // physical allocations alive
  int reservations = 0;  // address ranges alive
  int mappings = 0;
  int grants = 0;
  int peers_enabled = 0;
  char memory[64] = {};
};
Driver driver;

cudaError_t answer(cudaError_t status) {
  if (status != cudaSuccess) driver.pending = status;
  return status;
}

void fill_runtime(CudaApi& api) {
  api.get_device = [](int* device) {
    ++driver.asked;
    return *device = driver.current, cudaSuccess;
  };
  api.set_device = [](int device) { return driver.current = device, cudaSuccess; };
  api.malloc = [](void** memory, std::size_t) {
    *memory = driver.memory;
    return answer(driver.malloc);
  };
  api.free = [](void*) { return cudaSuccess; };
  api.memset = [](void*, int, std::size_t) { return cudaSuccess; };
  api.memset_async = [](void* memory, int value, std::size_t bytes, cudaStream_t) {
    if (driver.fill == cudaSuccess) std::memset(memory, value, bytes);
    return answer(driver.fill);
  };
  api.device_synchronize = [] { return cudaSuccess; };
  api.event_query = [](cudaEvent_t) { return answer(driver.event_query); };
  api.stream_query = [](cudaStream_t) { return answer(driver.stream_query); };
  api.thread_exchange_stream_capture_mode = [](cudaStreamCaptureMode* mode) {
    return std::swap(*mode, driver.capture_mode), cudaSuccess;
  };
  api.device_get_attribute = [](int* value, cudaDeviceAttr which, int) {
    *value = which == cudaDevAttrComputeCapabilityMajor ? 10 : 3;
    return answer(driver.attribute);
  };
  api.device_can_access_peer = [](int* yes, int, int) { return *yes = 1, cudaSuccess; };
  api.device_enable_peer_access = [](int, unsigned) {
    ++driver.peers_enabled;
    return answer(driver.enable_peer);
  };
  api.pointer_get_attributes = [](cudaPointerAttributes* attributes, const void*) {
    *attributes = {};
    attributes->type = driver.memory_type;
    attributes->device = driver.owner;
    return cudaSuccess;
  };
  api.stream_get_flags = [](cudaStream_t, unsigned* flags) {
    return *flags = driver.stream_flags, cudaSuccess;
  };
  api.thread_exchange_stream_capture_mode = [](cudaStreamCaptureMode*) { return cudaSuccess; };
  api.get_last_error = [] { return std::exchange(driver.pending, cudaSuccess); };
  api.get_error_name = [](cudaError_t) { return "cudaErrorFake"; };
  api.get_error_string = [](cudaError_t) { return "as told"; };
}

void fill_driver(CudaApi& api) {
  api.stream_get_device = [](CUstream, CUdevice* device) {
    return *device = driver.stream_device, CUDA_SUCCESS;
  };
  api.mem_get_address_range = [](CUdeviceptr* begin, std::size_t* bytes, CUdeviceptr) {
    *bytes = sizeof(driver.memory);
    return *begin = reinterpret_cast<CUdeviceptr>(driver.memory), CUDA_SUCCESS;
  };
  api.pointer_get_attribute = [](void* data, CUpointer_attribute attribute, CUdeviceptr) {
    const int plain = driver.plain ? 1 : 0;
    if (attribute == CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE) {
      std::memcpy(data, &plain, sizeof(plain));
    }
    return CUDA_SUCCESS;
  };
  api.mem_get_granularity = [](std::size_t* bytes, const CUmemAllocationProp*,
                               CUmemAllocationGranularity_flags) {
    return *bytes = 1 << 21, CUDA_SUCCESS;
  };
  api.mem_create = [](CUmemGenericAllocationHandle*, std::size_t, const CUmemAllocationProp*,
                      unsigned long long) {
    if (driver.create == CUDA_SUCCESS) ++driver.handles;
    return driver.create;
  };
  api.mem_address_reserve = [](CUdeviceptr* address, std::size_t, std::size_t, CUdeviceptr,
                               unsigned long long) {
    ++driver.reservations;
    return *address = reinterpret_cast<CUdeviceptr>(driver.memory), CUDA_SUCCESS;
  };
  api.mem_map = [](CUdeviceptr, std::size_t, std::size_t, CUmemGenericAllocationHandle,
                   unsigned long long) {
    if (driver.map == CUDA_SUCCESS) ++driver.mappings;
    return driver.map;
  };
  api.mem_set_access = [](CUdeviceptr, std::size_t, const CUmemAccessDesc*, std::size_t) {
    ++driver.grants;
    return driver.grant;
  };
  api.mem_unmap = [](CUdeviceptr, std::size_t) { return --driver.mappings, CUDA_SUCCESS; };
  api.mem_address_free = [](CUdeviceptr, std::size_t) {
    return --driver.reservations, CUDA_SUCCESS;
  };
  api.mem_release = [](CUmemGenericAllocationHandle) { return --driver.handles, CUDA_SUCCESS; };
}

// Puts the fake in place for one test.
struct FakeCuda {
  FakeCuda() {
    driver = {};
    fill_runtime(api);
    fill_driver(api);
    replace_cuda_api(&api);
  }
  ~FakeCuda() { replace_cuda_api(nullptr); }
  CudaApi api{};
};

template <class Call>
std::optional<Error> error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

bool nothing_is_left() {
  return driver.handles == 0 && driver.reservations == 0 && driver.mappings == 0;
}

}  // namespace

TEST_CASE("a fill reaches its bytes; a failed one is named") {
  const FakeCuda fake;
  CudaDevice device(1);
  device.fill({}, driver.memory + 1, 5, Bytes(2));
  device.fill({}, driver.memory, 6, Bytes(0));
  CHECK(driver.memory[0] == 0);
  CHECK(driver.memory[1] == 5);
  CHECK(driver.memory[2] == 5);
  CHECK(driver.memory[3] == 0);
  driver.fill = cudaErrorInvalidValue;
  const auto error = error_of([&] { device.fill({}, driver.memory, 7, Bytes(1)); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::cuda_error);
  CHECK(error->message().find("cudaMemsetAsync") != std::string::npos);
}

TEST_CASE("the generation is the compute capability, or the error that the driver told") {
  const FakeCuda fake;
  const CudaDevice device(1);
  CHECK(device.generation() == 103);
  driver.attribute = cudaErrorInvalidValue;
  const auto error = error_of([&] { device.generation(); });
  REQUIRE(error);
  CHECK(error->message().find("cudaDeviceGetAttribute") != std::string::npos);
}

TEST_CASE("in a scope the device is made current once, and what was current comes back") {
  const FakeCuda fake;
  CudaDevice device(1);
  CudaDevice other(2);
  driver.asked = 0;
  {
    const DeviceScope scope(device);
    const DeviceScope again(device);
    CHECK(driver.current == 1);
    for (int i = 0; i < 3; ++i) device.fill({}, driver.memory, 5, Bytes(2));
    CHECK(driver.asked == 1);
    other.fill({}, driver.memory, 6, Bytes(2));
    CHECK(driver.asked == 2);
    CHECK(driver.current == 1);
  }
  CHECK(driver.current == 3);
  device.fill({}, driver.memory, 5, Bytes(2));
  CHECK(driver.asked == 3);
  CHECK(driver.current == 3);
}

TEST_CASE("a CUDA error becomes the error it means, names the call and leaves nothing behind") {
  const FakeCuda fake;
  CudaDevice device(1);
  const auto code_for = [&](cudaError_t status) {
    driver.malloc = status;
    const auto error = error_of([&] { device.allocate(Bytes(8)); });
    REQUIRE(error);
    CHECK(error->message().find("cudaMalloc on cuda:1") != std::string::npos);
    CHECK(error->context().device == "cuda:1");
    CHECK(driver.pending == cudaSuccess);
    CHECK(driver.current == 3);
    return error->code();
  };
  CHECK(code_for(cudaErrorMemoryAllocation) == ErrorCode::out_of_memory);
  CHECK(code_for(cudaErrorInvalidValue) == ErrorCode::cuda_error);
  for (const cudaError_t fatal : {cudaErrorIllegalAddress, cudaErrorLaunchTimeout,
                                  cudaErrorLaunchFailure, cudaErrorECCUncorrectable}) {
    CHECK(code_for(fatal) == ErrorCode::device_lost);
  }
}

TEST_CASE("an error that another library left behind is neither taken for ours nor swallowed") {
  const FakeCuda fake;
  driver.pending = cudaErrorInvalidConfiguration;
  CudaDevice device(1);
  void* const memory = device.allocate(Bytes(16));
  device.fill({}, memory, 5, Bytes(2));
  CHECK(device.query({}));
  CHECK(device.is_idle({}));
  device.deallocate(memory);
  CHECK(driver.pending == cudaErrorInvalidConfiguration);
}

TEST_CASE("an event that is not there yet is no error, and waiting for it ends") {
  const FakeCuda fake;
  CudaDevice device(0);
  driver.event_query = cudaErrorNotReady;
  CHECK_FALSE(device.query({}));
  CHECK(driver.pending == cudaSuccess);
  CHECK_FALSE(device.synchronize({}, Deadline::after_ns(2'000'000)));
  driver.event_query = cudaErrorIllegalAddress;
  const auto error = error_of([&] { device.synchronize({}, Deadline::never()); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::device_lost);
}

TEST_CASE(
    "a stream that is busy is no error; to ask leaves captures and the current device alone") {
  const FakeCuda fake;
  CudaDevice device(1);
  CHECK(device.is_idle({}));
  driver.stream_query = cudaErrorNotReady;
  CHECK_FALSE(device.is_idle({}));
  CHECK(driver.pending == cudaSuccess);
  driver.stream_query = cudaErrorIllegalAddress;
  const auto error = error_of([&] { device.is_idle({}); });
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::device_lost);
  CHECK(error->message().find("cudaStreamQuery on cuda:1") != std::string::npos);
  CHECK(driver.capture_mode == cudaStreamCaptureModeGlobal);
  CHECK(driver.current == 3);
}

TEST_CASE("a shared segment that fails half way gives everything back") {
  const FakeCuda fake;
  CudaDevice device(0);
  for (CUresult Driver::* step : {&Driver::create, &Driver::map, &Driver::grant}) {
    driver.*step = CUDA_ERROR_OUT_OF_MEMORY;
    const auto error = error_of([&] { device.allocate_shared(Bytes(100)); });
    REQUIRE(error);
    CHECK(error->code() == ErrorCode::out_of_memory);
    CHECK(nothing_is_left());
    driver.*step = CUDA_SUCCESS;
  }
  void* memory = device.allocate_shared(Bytes(100));
  CHECK(memory == driver.memory);
  CHECK(driver.mappings == 1);
  device.deallocate_shared(memory);
  CHECK(nothing_is_left());
}

TEST_CASE("memory says why it cannot be reached") {
  const FakeCuda fake;
  const CudaDevice device(0);
  CHECK_FALSE(device.access_problem(driver.memory, Bytes(8)));
  driver.owner = 1;
  const auto foreign = device.access_problem(driver.memory, Bytes(8));
  REQUIRE(foreign);
  CHECK(foreign->find("cuda:1") != std::string::npos);
  driver.memory_type = cudaMemoryTypeUnregistered;
  const auto host = device.access_problem(driver.memory, Bytes(8));
  REQUIRE(host);
  CHECK(host->find("host memory") != std::string::npos);
  CHECK_FALSE(device.owner_of(driver.memory));
}

TEST_CASE("streams of other devices, and of no fixed one, are refused with a reason") {
  FakeCuda fake;
  const CudaDevice device(1);
  char made = 0;
  const Stream stream{&made};
  driver.stream_device = 1;
  CHECK_FALSE(device.stream_problem(stream));
  driver.stream_device = 2;
  const auto foreign = device.stream_problem(stream);
  REQUIRE(foreign);
  CHECK(foreign->find("cuda:2") != std::string::npos);
  CHECK_FALSE(device.stream_problem({}));
  CHECK_FALSE(device.stream_problem({cudaStreamLegacy}));
  CHECK(device.stream_problem({cudaStreamPerThread}));
  fake.api.stream_get_device = nullptr;  // drivers before CUDA 12.8
  CHECK_FALSE(device.stream_problem(stream));
}

TEST_CASE("only streams made as non-blocking do not follow the default stream") {
  const FakeCuda fake;
  const CudaDevice device(0);
  char made = 0;
  CHECK(device.follows_default_stream({}));
  CHECK(device.follows_default_stream({cudaStreamLegacy}));
  CHECK(device.follows_default_stream({&made}));
  driver.stream_flags = cudaStreamNonBlocking;
  CHECK_FALSE(device.follows_default_stream({&made}));
}

TEST_CASE("mapped memory may become other memory, cudaMalloc's stays") {
  const FakeCuda fake;
  const CudaDevice device(0);
  const Allocation plain = device.allocation_of(driver.memory + 5);
  CHECK(plain.stays);
  CHECK(plain.bytes.size() == sizeof(driver.memory));
  driver.plain = false;
  CHECK_FALSE(device.allocation_of(driver.memory).stays);
}

}  // namespace weft
