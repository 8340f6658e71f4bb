// Times the flagged kernels on devices 0 and 1 in CUDA-graph replay beside NCCL: float32 sum. First
// every family by number of blocks, then the best of each, in and out of place, taking turns with
// NCCL; what was timed is checked.
#include <algorithm>
#include <cstdio>
#include <map>

#include "bench/cuda/flagged_rig.h"
#include "bench/cuda/timing.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

constexpr std::size_t kLargest = std::size_t{1} << 24;
constexpr int kRounds = 9;
constexpr int kSweepRounds = 5;
constexpr int kIterations = 20;

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

class Timing {
 public:
  explicit Timing(const std::string& libnccl) : rig_(rig_options()), nccl_(libnccl, {0, 1}) {
    pattern_.resize(kLargest / sizeof(float));
    for (int r = 0; r < 2; ++r) {
      for (std::size_t i = 0; i < pattern_.size(); ++i) pattern_[i] = element(i, r);
      check_cuda(cudaMemcpy(rig_.input(r), pattern_.data(), kLargest, cudaMemcpyDefault), "copy");
    }
  }

  // Microseconds by blocks; remembers the best.
  void sweep(Family family, DType dtype, std::size_t bytes) {
    const Call call{.family = family,
                    .dtype = dtype,
                    .elements = static_cast<std::int64_t>(bytes) / item_bytes(dtype)};
    if (!rig_.serves(call)) return;
    std::printf("%10zu %-9s%s", bytes, name(family), dtype == DType::bf16 ? "bf16" : "");
    double best = 1e30;
    for (const std::int32_t blocks : {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 132}) {
      const std::int64_t lines = static_cast<std::int64_t>(bytes) / (family == Family::ll ? 8 : 16);
      if (lines / blocks < 32 || lines / blocks > 512 * 64) continue;
      Call tried = call;
      tried.blocks = blocks;
      const double time = time_call(tried);
      if (time < best && dtype == DType::f32) {
        best = time;
        best_blocks_[{family, bytes}] = blocks;
      }
      std::printf(" %d:%.2f", blocks, time);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  // The families' best beside NCCL.
  void compare(std::size_t bytes, bool in_place) {
    std::vector<std::unique_ptr<GraphTimer>> timers;
    std::vector<std::vector<double>> times;
    std::vector<std::string> names;
    std::vector<collectives::Plan> plans;
    plans.reserve(3);
    const auto add = [&](const std::string& label, const std::function<void()>& enqueue) {
      timers.push_back(std::make_unique<GraphTimer>(rig_.streams(), kIterations, enqueue));
      names.push_back(label);
      times.emplace_back();
    };
    for (const Family family : kFamilies) {
      const auto found = best_blocks_.find({family, bytes});
      if (found == best_blocks_.end()) continue;
      plans.push_back(rig_.plan({.family = family,
                                 .elements = elements(bytes),
                                 .in_place = in_place,
                                 .blocks = found->second}));
      const collectives::Plan& plan = plans.back();
      add(concat(name(family), "/", found->second),
          [this, family, &plan] { rig_.enqueue(family, plan); });
    }
    const std::vector<void*> outputs{rig_.output(0), rig_.output(1)};
    const std::vector<void*> inputs{rig_.input(0), rig_.input(1)};
    add("nccl", [&] {
      nccl_.all_reduce(in_place ? outputs : inputs, outputs, bytes / sizeof(float), rig_.streams());
    });
    std::size_t wrong = 0;
    for (int round = -1; round < kRounds; ++round) {
      for (std::size_t i = 0; i < timers.size(); ++i) {
        prepare(bytes, in_place);
        const double time = timers[i]->replay();
        if (round >= 0) times[i].push_back(time);
        if (round == kRounds - 1) wrong += count_wrong(bytes, in_place);
      }
    }
    std::printf("%10zu %-3s", bytes, in_place ? "in" : "out");
    for (std::size_t i = 0; i < timers.size(); ++i) {
      std::printf("  %s %.2f", names[i].c_str(), median(times[i]));
    }
    std::printf("  wrong %zu\n", wrong);
    std::fflush(stdout);
  }

 private:
  static RigOptions rig_options() {
    RigOptions o;
    o.devices = 2;
    o.bytes = kLargest;
    return o;
  }
  static std::int64_t elements(std::size_t bytes) {
    return static_cast<std::int64_t>(bytes / sizeof(float));
  }
  static float element(std::size_t i, int rank) { return static_cast<float>(i % 97 + 1 + rank); }

  double time_call(const Call& call) {
    const collectives::Plan plan = rig_.plan(call);
    GraphTimer timer(rig_.streams(), kIterations, [&] { rig_.enqueue(call.family, plan); });
    timer.replay();
    std::vector<double> times;
    for (int i = 0; i < kSweepRounds; ++i) times.push_back(timer.replay());
    return median(times);
  }

  void prepare(std::size_t bytes, bool in_place) {
    for (int r = 0; r < 2; ++r) {
      const CurrentDevice current(r);
      check_cuda(in_place
                     ? cudaMemcpy(rig_.output(r), rig_.input(r), bytes, cudaMemcpyDeviceToDevice)
                     : cudaMemset(rig_.output(r), 0xff, bytes),
                 "prepare");
      check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  }

  // After kIterations operations in place: the sum, doubled each time after the first.
  std::size_t count_wrong(std::size_t bytes, bool in_place) {
    const float factor = in_place ? static_cast<float>(1 << (kIterations - 1)) : 1.0F;
    std::size_t wrong = 0;
    for (int r = 0; r < 2; ++r) {
      check_cuda(cudaMemcpy(pattern_.data(), rig_.output(r), bytes, cudaMemcpyDefault), "copy");
      for (std::size_t i = 0; i < bytes / sizeof(float); ++i) {
        if (pattern_[i] != factor * (element(i, 0) + element(i, 1))) ++wrong;
      }
    }
    return wrong;
  }

  Rig rig_;
  Nccl nccl_;
  std::vector<float> pattern_;
  std::map<std::pair<Family, std::size_t>, std::int32_t> best_blocks_;
};

}  // namespace

void time_flagged(const std::string& libnccl) {
  Timing timing(libnccl);
  std::vector<std::size_t> sizes;
  for (std::size_t bytes = 1024; bytes <= kLargest; bytes *= 2) sizes.push_back(bytes);
  for (const std::size_t bytes : sizes) {
    for (const Family family : kFamilies) timing.sweep(family, DType::f32, bytes);
    timing.sweep(Family::lamport, DType::bf16, bytes);
  }
  for (const std::size_t bytes : sizes) {
    for (const bool in_place : {false, true}) timing.compare(bytes, in_place);
  }
}

}  // namespace weft::bench
