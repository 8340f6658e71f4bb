// Ring all-reduce, float32 sum, on CUDA devices 0 and 1 in CUDA-graph replay, beside NCCL in the
// same run.
//
//   weft_bench_cuda OUT.json LIBNCCL.so.2 [VERSION]
//
// Each size is timed in and out of place, rounds of the implementations taking turns; every round
// is checked element by element in the configuration that was timed. Writes a record of
// weft.bench/1.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "bench/cuda/timing.h"
#include "collectives/collectives.h"
#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/ring.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

constexpr int kRounds = 9;
constexpr std::size_t kLargest = std::size_t{1} << 28;
constexpr std::size_t kSizes[] = {1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26, kLargest};

struct Row {
  std::string impl;
  std::size_t bytes = 0;
  bool in_place = false;
  int iterations = 1;
  int blocks = 0;
  std::size_t wrong = 0;
  std::vector<double> times{};  // microseconds of one operation, a round
};

class Bench {
 public:
  explicit Bench(const std::string& nccl_library) : nccl_(nccl_library, 2) {
    fabric::FabricOptions options;
    for (int i = 0; i < 2; ++i) {
      options.devices.push_back(&device({DeviceKind::cuda, DeviceOrdinal(i)}));
    }
    options.topology = topology::probe();
    fabric_ = collectives::open(std::move(options));
    pattern_.resize(kLargest / sizeof(float));
    for (int i = 0; i < 2; ++i) {
      const Rank rank(i);
      streams_.push_back(static_cast<cudaStream_t>(fabric_->stream(rank).handle));
      inputs_.push_back(fabric_->device(rank).allocate(Bytes(kLargest)));
      outputs_.push_back(fabric_->device(rank).allocate(Bytes(kLargest)));
      fill(inputs_.back(), i, kLargest);
    }
  }

  LinkRates link() { return copy_engine_rates(streams_, inputs_, outputs_, kLargest); }
  std::string device_name(int i) const { return fabric_->device(Rank(i)).name(); }

  // Times both implementations, taking turns.
  std::vector<Row> run(std::size_t bytes, bool in_place) {
    std::vector<Row> rows{{"weft", bytes, in_place}, {"nccl", bytes, in_place}};
    std::vector<std::unique_ptr<GraphTimer>> timers;
    const std::vector<void*>& to = outputs_;
    const std::vector<void*>& from = in_place ? outputs_ : inputs_;
    const collectives::Plan plan = make_plan(bytes, from, to);
    rows[0].blocks = plan.tiling.blocks;
    const auto weft = [&] { enqueue(plan); };
    const auto nccl = [&] { nccl_.all_reduce(from, to, bytes / sizeof(float), streams_); };
    for (Row& row : rows) row.iterations = bytes <= (1 << 22) ? 20 : 5;
    timers.push_back(std::make_unique<GraphTimer>(streams_, rows[0].iterations, weft));
    timers.push_back(std::make_unique<GraphTimer>(streams_, rows[1].iterations, nccl));
    for (int round = -1; round < kRounds; ++round) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        prepare(bytes, in_place);
        const double time = timers[i]->replay();
        rows[i].wrong += count_wrong(bytes, in_place ? rows[i].iterations : 1);
        if (round >= 0) rows[i].times.push_back(time);  // the first warms up
      }
    }
    return rows;
  }

 private:
  static float element(std::size_t i, int rank) { return static_cast<float>(i % 97 + 1 + rank); }

  void fill(void* memory, int rank, std::size_t bytes) {
    for (std::size_t i = 0; i < bytes / sizeof(float); ++i) pattern_[i] = element(i, rank);
    check_cuda(cudaMemcpy(memory, pattern_.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  }

  // Outputs hold the inputs (in place) or nothing that could pass for a result.
  void prepare(std::size_t bytes, bool in_place) {
    for (std::size_t i = 0; i < 2; ++i) {
      const CurrentDevice current(static_cast<int>(i));
      check_cuda(in_place ? cudaMemcpy(outputs_[i], inputs_[i], bytes, cudaMemcpyDeviceToDevice)
                          : cudaMemset(outputs_[i], 0xff, bytes),
                 "prepare");
      check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  }

  // After `times` operations in place: the sum, doubled each time after the first. Exact in
  // float32.
  std::size_t count_wrong(std::size_t bytes, int times) {
    std::size_t wrong = 0;
    const float factor = static_cast<float>(1 << (times - 1));
    for (void* output : outputs_) {
      check_cuda(cudaMemcpy(pattern_.data(), output, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
      for (std::size_t i = 0; i < bytes / sizeof(float); ++i) {
        if (pattern_[i] != factor * (element(i, 0) + element(i, 1))) ++wrong;
      }
    }
    return wrong;
  }

  collectives::Plan make_plan(std::size_t bytes, const std::vector<void*>& from,
                              const std::vector<void*>& to) const {
    collectives::Plan plan;
    plan.world = fabric_->world();
    plan.tiling =
        schedule::make_tiling(static_cast<std::int64_t>(bytes / sizeof(float)), sizeof(float),
                              plan.world, collectives::cuda::ring_limits(*fabric_, 0));
    plan.limits = {fabric_->timeout_ns(), fabric_->abort_flag(), 1};
    for (std::size_t i = 0; i < 2; ++i) {
      plan.inputs[i] = from[i];
      plan.outputs[i] = to[i];
    }
    return plan;
  }

  void enqueue(const collectives::Plan& plan) const {
    for (int i = 0; i < 2; ++i) {
      const Rank rank(i);
      fabric_->device(rank).submit(fabric_->stream(rank),
                                   collectives::cuda_work(*fabric_, plan, rank));
    }
  }

  std::shared_ptr<fabric::Fabric> fabric_;
  Nccl nccl_;
  std::vector<cudaStream_t> streams_;
  std::vector<void*> inputs_;
  std::vector<void*> outputs_;
  std::vector<float> pattern_;
};

// The first word that is a version, e.g. "580.159.04".
std::string version_in(const std::string& text) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word.find('.') != std::string::npos &&
        word.find_first_not_of("0123456789.") > word.size()) {
      return word;
    }
  }
  return "";
}

std::string first_line(const char* path, const char* key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.find(key) == std::string::npos) continue;
    const std::size_t colon = line.find(':');
    return colon == std::string::npos ? line : line.substr(colon + 2);
  }
  return "";
}

std::string row_json(Row row, const LinkRates& link) {
  std::sort(row.times.begin(), row.times.end());
  const double p50 = row.times[row.times.size() / 2];
  const double rate = 1e-3 * static_cast<double>(row.bytes) / p50;  // at 2 ranks bus = algorithm
  std::ostringstream out;
  out << R"({"impl": ")" << row.impl << R"(", "collective": "all_reduce", "algo": )"
      << (row.impl == "weft" ? R"("ring")" : "null")
      << R"(, "dtype": "float32", "op": "sum", "bytes": )" << row.bytes
      << R"(, "ranks": 2, "devices": ["cuda:0", "cuda:1"], "in_place": )"
      << (row.in_place ? "true" : "false") << R"(, "mode": "graph", "time_us": )" << p50
      << R"(, "p50_us": )" << p50 << R"(, "p99_us": )" << row.times.back() << R"(, "spread_us": )"
      << row.times.back() - row.times.front() << R"(, "rounds": )" << row.times.size()
      << R"(, "algbw_gbps": )" << rate << R"(, "busbw_gbps": )" << rate << R"(, "pct_peak": )"
      << 100 * rate / link.both_ways << R"(, "blocks": )"
      << (row.blocks > 0 ? std::to_string(row.blocks) : "null") << R"(, "scratch_bytes": )"
      << (row.blocks > 0 ? std::to_string(64 << 20) : "null") << R"(, "wrong": )" << row.wrong
      << R"(, "predicted": false})";
  return out.str();
}

int run(const std::string& out_path, const std::string& nccl, const std::string& version) {
  Bench bench(nccl);
  const LinkRates link = bench.link();
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  std::ofstream out(out_path);
  out << R"({"schema": "weft.bench/1", "command": ["weft_bench_cuda", ")" << out_path << R"(", ")"
      << nccl << R"("],)"
      << R"( "date": ")" << date << R"(", "weft": ")" << version << R"(", "machine": {"gpus": [")"
      << bench.device_name(0) << R"(", ")" << bench.device_name(1) << R"("], "cpu": ")"
      << first_line("/proc/cpuinfo", "model name") << R"(", "driver": ")"
      << version_in(first_line("/proc/driver/nvidia/version", "Kernel Module")) << R"(", "cuda": ")"
      << CUDART_VERSION / 1000 << "." << CUDART_VERSION % 1000 / 10
      << R"("}, "link": {"copy_engine_bidir_gbps": )" << link.both_ways
      << R"(, "copy_engine_gbps": )" << link.one_way << "}, \"rows\": [";
  std::size_t wrong = 0;
  const char* comma = "\n";
  for (const std::size_t bytes : kSizes) {
    for (const bool in_place : {false, true}) {
      for (const Row& row : bench.run(bytes, in_place)) {
        const std::string json = row_json(row, link);
        out << comma << json;
        std::cout << json << std::endl;
        comma = ",\n";
        wrong += row.wrong;
      }
    }
  }
  out << "\n]}\n";
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: weft_bench_cuda OUT.json LIBNCCL.so.2 [VERSION]\n";
    return 2;
  }
  try {
    return weft::bench::run(argv[1], argv[2], argc > 3 ? argv[3] : "0.1.0");
  } catch (const weft::Error& error) {
    std::cerr << weft::error_name(error.code()) << ": " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
