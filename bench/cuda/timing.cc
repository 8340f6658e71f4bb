#include "bench/cuda/timing.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

constexpr int kNcclFloat32 = 7;
constexpr int kNcclSum = 0;

int of(std::size_t index) { return static_cast<int>(index); }

void check_nccl(int status, const char* call) {
  if (status != 0) fail(ErrorCode::internal, call, " failed with NCCL's error ", status);
}

}  // namespace

GraphTimer::GraphTimer(const std::vector<cudaStream_t>& streams, int iterations,
                       const std::function<void()>& enqueue)
    : iterations_(iterations) {
  enqueue();  // once before the capture, so that everything is loaded
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const CurrentDevice current(of(i));
    OfDevice device{streams[i]};
    check_cuda(cudaStreamSynchronize(streams[i]), "cudaStreamSynchronize");
    check_cuda(cudaEventCreate(&device.start), "cudaEventCreate");
    check_cuda(cudaEventCreate(&device.end), "cudaEventCreate");
    devices_.push_back(device);
  }
  const auto mode = cudaStreamCaptureModeThreadLocal;
  for (OfDevice& d : devices_) check_cuda(cudaStreamBeginCapture(d.stream, mode), "capture");
  for (int i = 0; i < iterations; ++i) enqueue();
  for (OfDevice& d : devices_) check_cuda(cudaStreamEndCapture(d.stream, &d.graph), "capture");
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const CurrentDevice current(of(i));
    check_cuda(cudaGraphInstantiate(&devices_[i].executable, devices_[i].graph, 0),
               "cudaGraphInstantiate");
  }
}

GraphTimer::~GraphTimer() {
  for (const OfDevice& device : devices_) {
    cudaGraphExecDestroy(device.executable);
    cudaGraphDestroy(device.graph);
    cudaEventDestroy(device.start);
    cudaEventDestroy(device.end);
  }
}

double GraphTimer::replay() {
  const auto on_each = [&](auto&& action) {
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      const CurrentDevice current(of(i));
      action(devices_[i]);
    }
  };
  on_each([](OfDevice& d) { check_cuda(cudaEventRecord(d.start, d.stream), "cudaEventRecord"); });
  on_each([](OfDevice& d) { check_cuda(cudaGraphLaunch(d.executable, d.stream), "launch"); });
  on_each([](OfDevice& d) { check_cuda(cudaEventRecord(d.end, d.stream), "cudaEventRecord"); });
  double longest = 0;
  on_each([&](OfDevice& d) {
    check_cuda(cudaEventSynchronize(d.end), "cudaEventSynchronize");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, d.start, d.end), "cudaEventElapsedTime");
    longest = std::max(longest, 1e3 * static_cast<double>(milliseconds) / iterations_);
  });
  return longest;
}

Nccl::Nccl(const std::string& path, const std::vector<int>& ordinals) {
  setenv("NCCL_NVLS_ENABLE", "0", 1);  // NCCL reads its environment when it is loaded
  void* library = dlopen(path.c_str(), RTLD_NOW);
  if (!library) fail(ErrorCode::invalid_argument, "cannot load ", path, ": ", dlerror());
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    if (!function) fail(ErrorCode::invalid_argument, path, " has no ", name);
  };
  int (*init)(void**, int, const int*) = nullptr;
  find(all_reduce_, "ncclAllReduce");
  find(group_start_, "ncclGroupStart");
  find(group_end_, "ncclGroupEnd");
  find(get_version_, "ncclGetVersion");
  find(init, "ncclCommInitAll");
  communicators_.resize(ordinals.size());
  check_nccl(init(communicators_.data(), of(ordinals.size()), ordinals.data()), "ncclCommInitAll");
}

std::string Nccl::version() const {
  int number = 0;
  check_nccl(get_version_(&number), "ncclGetVersion");
  return concat(number / 10000, ".", number / 100 % 100, ".", number % 100);
}

void Nccl::all_reduce(const std::vector<void*>& inputs, const std::vector<void*>& outputs,
                      std::size_t elements, const std::vector<cudaStream_t>& streams) {
  check_nccl(group_start_(), "ncclGroupStart");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    check_nccl(all_reduce_(inputs[i], outputs[i], elements, kNcclFloat32, kNcclSum,
                           communicators_[i], streams[i]),
               "ncclAllReduce");
  }
  check_nccl(group_end_(), "ncclGroupEnd");
}

LinkRates copy_engine_rates(const std::vector<cudaStream_t>& streams,
                            const std::vector<void*>& from, const std::vector<void*>& to,
                            std::size_t bytes) {
  const auto copy = [&](std::size_t source) {
    const CurrentDevice current(of(source));
    check_cuda(
        cudaMemcpyAsync(to[1 - source], from[source], bytes, cudaMemcpyDefault, streams[source]),
        "cudaMemcpyAsync");
  };
  const auto rate = [&](const std::function<void()>& enqueue) {
    GraphTimer timer(streams, 4, enqueue);
    std::vector<double> times;
    for (int i = 0; i < 7; ++i) times.push_back(timer.replay());
    std::sort(times.begin(), times.end());
    return 1e-3 * static_cast<double>(bytes) / times[times.size() / 2];
  };
  LinkRates rates;
  rates.one_way = rate([&] { copy(0); });
  rates.both_ways = rate([&] {
    copy(0);
    copy(1);
  });
  return rates;
}

}  // namespace weft::bench
