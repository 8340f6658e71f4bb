// How the works launch their kernels, against a fake driver: grids, blocks, parameters, errors.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/device/cuda/cuda_device.h"
#include "topology/probe/machine.h"
#include "topology/probe/works.h"

namespace {

using namespace weft;
using namespace weft::topology;

struct Launch {
  unsigned blocks = 0;
  unsigned threads = 0;
  cudaStream_t stream = nullptr;
  CopyParams copy{};  // what the first parameter holds, read as a copy's
};

// What the fake answers, and what it was asked.
struct Driver {
  cudaError_t launch = cudaSuccess;
  cudaError_t attribute = cudaSuccess;
  cudaError_t pending = cudaSuccess;
  int current = 0;
  std::vector<Launch> launches;
  int loaded = 0;
};
Driver driver;

struct FakeCuda {
  FakeCuda() {
    driver = {};
    api.get_device = [](int* device) { return *device = driver.current, cudaSuccess; };
    api.set_device = [](int device) { return driver.current = device, cudaSuccess; };
    api.device_get_attribute = [](int* value, cudaDeviceAttr, int) {
      return *value = 132, cudaSuccess;
    };
    api.func_get_attributes = [](cudaFuncAttributes*, const void*) {
      return ++driver.loaded, cudaSuccess;
    };
    api.launch_kernel = [](const cudaLaunchConfig_t* config, const void*, void** parameters) {
      Launch& launch = driver.launches.emplace_back();
      launch.blocks = config->gridDim.x;
      launch.threads = config->blockDim.x;
      launch.stream = config->stream;
      std::memcpy(&launch.copy, parameters[0], sizeof(launch.copy));
      if (driver.launch != cudaSuccess) driver.pending = driver.launch;
      return driver.launch;
    };
    api.device_can_access_peer = [](int* yes, int from, int) {
      return *yes = from == 0 ? 1 : 0, cudaSuccess;
    };
    api.device_get_p2p_attribute = [](int* value, cudaDeviceP2PAttr which, int, int) {
      *value = which == cudaDevP2PAttrNativeAtomicSupported ? 1 : 3;
      if (driver.attribute != cudaSuccess) driver.pending = driver.attribute;
      return driver.attribute;
    };
    api.get_last_error = [] { return std::exchange(driver.pending, cudaSuccess); };
    api.get_error_name = [](cudaError_t) { return "cudaErrorFake"; };
    api.get_error_string = [](cudaError_t) { return "as told"; };
    replace_cuda_api(&api);
  }
  ~FakeCuda() { replace_cuda_api(nullptr); }
  CudaApi api{};
};

Launch copied(std::int64_t bytes, std::int32_t share) {
  CudaDevice device(1);
  char stream = 0;
  const CopyParams params{nullptr, nullptr, bytes, share};
  device.submit({&stream}, Work::make("copy", probe_works(DeviceKind::cuda).copy, params));
  CHECK(driver.launches.back().stream == reinterpret_cast<cudaStream_t>(&stream));
  return driver.launches.back();
}

}  // namespace

TEST_CASE("a copy has two blocks a multiprocessor, fewer where it is small or shares the device") {
  const FakeCuda fake;
  const Launch large = copied(256 << 20, 1);
  CHECK(large.blocks == 264);
  CHECK(large.threads == 512);
  CHECK(large.copy.bytes == 256 << 20);
  CHECK(copied(64 << 10, 1).blocks == 1);
  CHECK(copied(1 << 20, 1).blocks == 16);
  CHECK(copied(256 << 20, 7).blocks == 37);
  CHECK(copied(256 << 20, 1000).blocks == 1);
  CHECK(driver.current == 0);
}

TEST_CASE("gates and flags are one thread each") {
  const FakeCuda fake;
  CudaDevice device(0);
  const ProbeWorks& works = probe_works(DeviceKind::cuda);
  device.submit({}, Work::make("gate", works.gate, GateParams{}));
  device.submit({}, Work::make("flags", works.flags, FlagParams{}));
  REQUIRE(driver.launches.size() == 2);
  for (const Launch& launch : driver.launches) CHECK(launch.blocks * launch.threads == 1);
  works.preload(device);
  CHECK(driver.loaded == 3);
}

TEST_CASE("a launch that fails is an error that names the device, and leaves nothing behind") {
  const FakeCuda fake;
  driver.launch = cudaErrorInvalidValue;
  try {
    copied(1 << 20, 1);
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::cuda_error);
    CHECK(error.context().device == "cuda:1");
  }
  CHECK(driver.pending == cudaSuccess);
}

TEST_CASE("peer attributes are told for each ordered pair, or not known") {
  FakeCuda fake;
  std::vector<PeerAttributes> pairs = cuda_peer_attributes(2);
  REQUIRE(pairs.size() == 4);
  CHECK(pairs[1].access);
  CHECK_FALSE(pairs[2].access);
  CHECK(pairs[1].native_atomics == true);
  CHECK(pairs[1].performance_rank == 3);
  CHECK_FALSE(pairs[0].performance_rank.has_value());
  driver.attribute = cudaErrorInvalidValue;
  CHECK_FALSE(cuda_peer_attributes(2)[1].native_atomics.has_value());
  CHECK(driver.pending == cudaSuccess);
  fake.api.device_get_p2p_attribute = nullptr;
  CHECK_FALSE(cuda_peer_attributes(2)[1].performance_rank.has_value());
}
