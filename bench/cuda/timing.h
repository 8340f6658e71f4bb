// What the CUDA benchmark times with: captured graphs, one a device, and NCCL found at run time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace weft::bench {

// One implementation's operation on all devices, `iterations` times in a graph a device.
class GraphTimer {
 public:
  // `enqueue` puts one operation on every stream; it is captured. Stream i belongs to device i.
  GraphTimer(const std::vector<cudaStream_t>& streams, int iterations,
             const std::function<void()>& enqueue);
  ~GraphTimer();
  GraphTimer(const GraphTimer&) = delete;
  GraphTimer& operator=(const GraphTimer&) = delete;

  // Replays once: microseconds of one operation, the longest of the devices.
  double replay();

 private:
  struct OfDevice {
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cudaEvent_t start = nullptr;
    cudaEvent_t end = nullptr;
  };
  std::vector<OfDevice> devices_;
  int iterations_;
};

// The few functions of NCCL that the comparison needs, from the library at `path`, or of that name
// where the loader finds it. NVLink multicast (NVLS) is off.
class Nccl {
 public:
  // A rank on each of these devices. Throws Error where the library cannot be loaded or refuses.
  Nccl(const std::string& path, const std::vector<int>& ordinals);
  // float32 sum on every device, as one group.
  void all_reduce(const std::vector<void*>& inputs, const std::vector<void*>& outputs,
                  std::size_t elements, const std::vector<cudaStream_t>& streams);
  std::string version() const;  // "2.28.9"

 private:
  int (*get_version_)(int*) = nullptr;
  int (*all_reduce_)(const void*, void*, std::size_t, int, int, void*, cudaStream_t) = nullptr;
  int (*group_start_)() = nullptr;
  int (*group_end_)() = nullptr;
  std::vector<void*> communicators_;
};

// GB/s of copies by the copy engines between devices 0 and 1: one direction, and each of both at
// once.
struct LinkRates {
  double one_way = 0;
  double both_ways = 0;
};
LinkRates copy_engine_rates(const std::vector<cudaStream_t>& streams,
                            const std::vector<void*>& from, const std::vector<void*>& to,
                            std::size_t bytes);

}  // namespace weft::bench
