// Times kernel families in graph replay beside NCCL, and looks at the results.
#include <cstdio>
#include <functional>

#include "bench/cuda/families.h"
#include "bench/cuda/timing.h"

namespace weft::bench {
namespace {

// One graph over both devices, captured from rank 0's stream.
class WholeGraph {
 public:
  WholeGraph(const Ranks& ranks, int iterations, const std::function<void()>& enqueue)
      : stream_(ranks.streams().front()), iterations_(iterations) {
    const CurrentDevice current(0);
    enqueue();
    ranks.settle();
    cudaGraph_t graph = nullptr;
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < iterations; ++i) enqueue();
    check_cuda(cudaStreamEndCapture(stream_, &graph), "capture");
    check_cuda(cudaGraphInstantiate(&executable_, graph, 0), "cudaGraphInstantiate");
    check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
    check_cuda(cudaEventCreate(&start_), "cudaEventCreate");
    check_cuda(cudaEventCreate(&end_), "cudaEventCreate");
  }
  ~WholeGraph() {
    cudaGraphExecDestroy(executable_);
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }
  WholeGraph(const WholeGraph&) = delete;
  WholeGraph& operator=(const WholeGraph&) = delete;

  double replay() const {
    const CurrentDevice current(0);
    check_cuda(cudaEventRecord(start_, stream_), "cudaEventRecord");
    check_cuda(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch");
    check_cuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    check_cuda(cudaEventElapsedTime(&milliseconds, start_, end_), "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(milliseconds) / iterations_;
  }

 private:
  cudaStream_t stream_;
  int iterations_;
  cudaGraphExec_t executable_ = nullptr;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

class Timing {
 public:
  explicit Timing(const std::string& nccl) : nccl_(nccl, 2) {
    const CopyEngines::Options options[] = {{1, 2, 2, 0}, {1, 2, 2, 1},  {1, 2, 2, 99},
                                            {1, 2, 4, 1}, {1, 2, 4, 99}, {1, 4, 4, 99}};
    for (const CopyEngines::Options& o : options) {
      ranks_.push_back(std::make_unique<Ranks>(std::vector<int>{0, 1}, 10.0, 0, o));
      names_.push_back("ce_l" + std::to_string(o.lanes) + "_s" + std::to_string(o.slots) + "_p" +
                       std::to_string(o.pieces) + "_k" + std::to_string(o.pushed));
    }
    for (int d = 0; d < 2; ++d) {
      const CurrentDevice current(d);
      for (auto* side : {&in_, &out_}) {
        void* memory = nullptr;
        check_cuda(cudaMalloc(&memory, kMost), "cudaMalloc");
        side->push_back(memory);
      }
    }
  }

  void run(std::size_t bytes, bool in_place) {
    std::vector<Candidate> candidates;
    add_kernels(bytes, in_place, candidates);
    if (bytes >= (16 << 20)) add_engines(bytes, in_place, candidates);
    std::vector<std::vector<double>> times(candidates.size());
    for (int round = 0; round < 6; ++round) {
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        const double time = candidates[i].replay();
        if (round > 0) times[i].push_back(time);
      }
    }
    std::printf("%10zu %s", bytes, in_place ? "in " : "out");
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      std::sort(times[i].begin(), times[i].end());
      std::printf(" %s=%.2f%s", candidates[i].name.c_str(), times[i][times[i].size() / 2],
                  right(bytes, in_place, candidates[i].once) ? "" : "(WRONG)");
    }
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
  struct Candidate {
    std::string name;
    std::function<double()> replay;  // microseconds of one operation
    std::function<void()> once;
  };

  const std::vector<void*>& inputs(bool in_place) const { return in_place ? out_ : in_; }
  static int iterations(std::size_t bytes) {
    return bytes <= (4 << 20) ? 40 : bytes <= (64 << 20) ? 10 : 3;
  }

  // Kernels by number of blocks, the ring, NCCL.
  void add_kernels(std::size_t bytes, bool in_place, std::vector<Candidate>& candidates) {
    const Ranks& ranks = *ranks_.front();
    const std::vector<void*>& from = inputs(in_place);
    const auto add_graph = [&](const std::string& name, const std::function<void()>& enqueue) {
      auto timer = std::make_shared<GraphTimer>(ranks.streams(), iterations(bytes), enqueue);
      candidates.push_back({name, [timer] { return timer->replay(); }, enqueue});
    };
    const auto add = [&](const std::string& name, Case c) {
      c.elements = static_cast<std::int64_t>(bytes / sizeof(float));
      auto plan = std::make_shared<Plan>(ranks.plan(c, from, out_));
      if (c.motion.motion == Motion::one_shot_held && !collectives::direct_can_hold(*plan)) return;
      add_graph(name, [&ranks, c, plan] { ranks.enqueue(c, *plan); });
    };
    const auto direct = [](Motion motion, std::int32_t blocks) {
      return Case{Family::direct, {motion}, ReduceOp::sum, DType::f32, 0, blocks};
    };
    for (const std::int32_t blocks : {16, 32, 64, 128}) {
      const std::string b = "_b" + std::to_string(blocks);
      if (blocks < 64 && bytes > (1 << 20)) continue;
      if (!in_place && bytes <= (16 << 20)) add("one_shot" + b, direct(Motion::one_shot, blocks));
      add("held" + b, direct(Motion::one_shot_held, blocks));
      if (bytes <= (64 << 20)) add("two_shot" + b, direct(Motion::two_shot, blocks));
      if (blocks >= 64 && bytes >= (1 << 20)) {
        add("push" + b, {Family::push, {}, ReduceOp::sum, DType::f32, 0, blocks});
      }
    }
    add("ring", {Family::ring, {}, ReduceOp::sum, DType::f32, 0, 64});
    add_graph("nccl", [this, &from, &ranks, bytes] {
      nccl_.all_reduce(from, out_, bytes / sizeof(float), ranks.streams());
    });
  }

  void add_engines(std::size_t bytes, bool in_place, std::vector<Candidate>& candidates) {
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      const Ranks& own = *ranks_[i];
      const Case c{Family::copy_engine,
                   {},
                   ReduceOp::sum,
                   DType::f32,
                   static_cast<std::int64_t>(bytes / sizeof(float))};
      auto plan = std::make_shared<Plan>(own.plan(c, inputs(in_place), out_));
      const std::function<void()> enqueue = [&own, c, plan] { own.enqueue(c, *plan); };
      auto graph = std::make_shared<WholeGraph>(own, iterations(bytes), enqueue);
      const auto once = [&own, enqueue] {
        enqueue();
        own.settle();
      };
      candidates.push_back({names_[i], [graph] { return graph->replay(); }, once});
    }
  }

  static constexpr std::size_t kMost = std::size_t{1} << 30;

  // Once more, looked at in windows.
  bool right(std::size_t bytes, bool in_place, const std::function<void()>& enqueue) {
    constexpr std::size_t kPattern = std::size_t{1} << 20;  // elements
    std::vector<float> pattern(std::min(kPattern, bytes / sizeof(float)));
    const std::size_t window = pattern.size() * sizeof(float);
    for (int d = 0; d < 2; ++d) {
      const CurrentDevice current(d);
      for (std::size_t i = 0; i < pattern.size(); ++i) {
        pattern[i] = static_cast<float>(i % 9973) * (d == 0 ? 1.0f : 3.0f);
      }
      auto* to = static_cast<std::byte*>(in_place ? out_[static_cast<std::size_t>(d)]
                                                  : in_[static_cast<std::size_t>(d)]);
      if (!in_place) check_cuda(cudaMemset(out_[static_cast<std::size_t>(d)], 0xff, bytes), "set");
      check_cuda(cudaMemcpy(to, pattern.data(), window, cudaMemcpyDefault), "copy");
      for (std::size_t at = window; at < bytes; at += window) {
        check_cuda(cudaMemcpy(to + at, to, std::min(window, bytes - at), cudaMemcpyDefault),
                   "copy");
      }
      check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
    enqueue();
    for (int d = 0; d < 2; ++d) {
      const CurrentDevice current(d);
      check_cuda(cudaStreamSynchronize(ranks_.front()->streams()[static_cast<std::size_t>(d)]),
                 "sync");
      const auto* out = static_cast<const std::byte*>(out_[static_cast<std::size_t>(d)]);
      for (const std::size_t at :
           {std::size_t{0}, std::min(bytes / 2, bytes - window), bytes - window}) {
        check_cuda(cudaMemcpy(pattern.data(), out + at, window, cudaMemcpyDefault), "copy");
        const std::size_t first = at / sizeof(float);
        for (std::size_t i = 0; i < pattern.size(); ++i) {
          if (pattern[i] != static_cast<float>((first + i) % kPattern % 9973) * 4.0f) return false;
        }
      }
    }
    return true;
  }

  Nccl nccl_;
  std::vector<std::unique_ptr<Ranks>> ranks_;
  std::vector<std::string> names_;
  std::vector<void*> in_;
  std::vector<void*> out_;
};

}  // namespace

int time_families(const std::string& nccl, std::size_t least, std::size_t most) {
  Timing timing(nccl);
  for (std::size_t bytes = least; bytes <= most; bytes *= 4) {
    for (const bool in_place : {false, true}) timing.run(bytes, in_place);
  }
  return EXIT_SUCCESS;
}

}  // namespace weft::bench
