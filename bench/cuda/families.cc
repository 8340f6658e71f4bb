// Checks and times the kernel families on CUDA devices, below the public calls.
//
//   weft_bench_families check LIST       LIST: a device a rank, e.g. 0,1 or 0,0,0
//   weft_bench_families faults           on devices 0 and 1
//   weft_bench_families time LIBNCCL.so.2 [LEAST [MOST]]   float32 sum in graph replay, devices 0, 1
//
// `check` compares every element with the arithmetic of executor/reduce.h, bit by bit, and the bytes
// around; it exits with 1 if any differs. `time` prints the median of the rounds in microseconds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "bench/cuda/timing.h"
#include "collectives/collectives.h"
#include "collectives/executor/cuda/copy_engine.h"
#include "collectives/executor/cuda/direct.h"
#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/push_two_shot.h"
#include "collectives/executor/reduce.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

using namespace collectives;

constexpr std::int64_t kScratch = 64 << 20;
constexpr std::int32_t kBlocks = 128;
constexpr std::size_t kGuard = 256;

enum class Family : std::uint8_t { direct, push, copy_engine, copy_moves, ring };

struct Case {
  Family family = Family::direct;
  MotionPlan motion{};
  ReduceOp op = ReduceOp::sum;
  DType dtype = DType::f32;
  std::int64_t elements = 0;  // as in move.h
  std::int32_t blocks = 64;
  std::int64_t piece_bytes = cuda::kPushPieceBytes;  // of push
};

// Ranks on devices, with streams and the buffers of one case at a time.
class Ranks {
 public:
  Ranks(const std::vector<int>& devices, double timeout, std::uint32_t first_epoch,
        CopyEngines::Options engines)
      : devices_(devices) {
    fabric::FabricOptions options;
    for (const int d : devices) {
      options.devices.push_back(&device({DeviceKind::cuda, DeviceOrdinal(d)}));
    }
    options.topology = topology::probe();
    options.timeout_seconds = timeout;
    options.scratch = Bytes(kScratch);
    options.first_epoch = first_epoch;
    options.blocks = kBlocks;
    fabric_ = fabric::Fabric::open(std::move(options));
    cuda_ring_preload(*fabric_);
    engines_ = std::make_unique<CopyEngines>(*fabric_, engines);
    for (int r = 0; r < world(); ++r) {
      streams_.push_back(static_cast<cudaStream_t>(fabric_->stream(Rank(r)).handle));
    }
  }

  int world() const { return static_cast<int>(devices_.size()); }
  int device_of(int r) const { return devices_[static_cast<std::size_t>(r)]; }
  fabric::Fabric& fabric() const { return *fabric_; }
  const std::vector<cudaStream_t>& streams() const { return streams_; }
  std::int32_t most_blocks() const {
    const auto count = std::count(devices_.begin(), devices_.end(), devices_.front());
    return static_cast<std::int32_t>(kBlocks / count);
  }

  Plan plan(const Case& c, const std::vector<void*>& in, const std::vector<void*>& out) const {
    Plan plan;
    plan.op = c.op;
    plan.dtype = c.dtype;
    plan.world = fabric_->world();
    const std::int64_t item = item_bytes(c.dtype);
    const std::int32_t blocks = std::min(c.blocks, most_blocks());
    if (c.family == Family::push) {
      plan.tiling = push_two_shot_tiling(c.elements, item, plan.world, {0, kScratch}, blocks,
                                         c.piece_bytes);
    } else if (c.family == Family::ring) {
      plan.tiling = schedule::make_tiling(c.elements, item, plan.world,
                                          cuda_ring_limits(*fabric_, c.dtype, blocks));
    } else {
      plan.tiling.elements = c.elements;
      plan.tiling.blocks = direct_blocks(c.elements * item, blocks);
    }
    plan.limits = {fabric_->timeout_ns(), fabric_->abort_flag(), 1};
    for (std::size_t r = 0; r < in.size(); ++r) {
      plan.inputs[r] = in[r];
      plan.outputs[r] = out[r];
    }
    return plan;
  }

  Work work(const Case& c, const Plan& plan, Rank rank) const {
    switch (c.family) {
      case Family::direct:
        return direct_work(*fabric_, plan, c.motion, rank);
      case Family::push:
        return push_two_shot_work(*fabric_, plan, {0, kScratch}, rank);
      case Family::copy_engine:
        return copy_engine_work(*engines_, plan, {0, kScratch}, rank);
      case Family::copy_moves:
        return copy_engine_move_work(*engines_, plan, c.motion, rank);
      case Family::ring:
        break;
    }
    return cuda_ring_work(*fabric_, plan, rank);
  }

  void enqueue_one(const Case& c, const Plan& plan, int r) const {
    const Work work = this->work(c, plan, Rank(r));
    if (work.run) fabric_->device(Rank(r)).submit(fabric_->stream(Rank(r)), work);
  }
  void enqueue(const Case& c, const Plan& plan) const {
    for (int r = 0; r < world(); ++r) enqueue_one(c, plan, r);
  }
  // False: not within some seconds.
  bool settle() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (int r = 0; r < world(); ++r) {
      const CurrentDevice current(device_of(r));
      cudaError_t status = cudaErrorNotReady;
      while ((status = cudaStreamQuery(streams_[static_cast<std::size_t>(r)])) ==
             cudaErrorNotReady) {
        if (std::chrono::steady_clock::now() > end) return false;
      }
      check_cuda(status, "cudaStreamQuery");
    }
    return true;
  }

 private:
  std::vector<int> devices_;
  std::shared_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<CopyEngines> engines_;
  std::vector<cudaStream_t> streams_;
};

// Elements of a rank's input and output in a case.
std::int64_t input_elements(const Case& c, int world) {
  const Motion m = c.motion.motion;
  const bool parts = c.family != Family::push && c.family != Family::ring &&
                     c.family != Family::copy_engine &&
                     (m == Motion::reduce_scatter || m == Motion::scatter || m == Motion::all_to_all);
  return parts ? c.elements * world : c.elements;
}
std::int64_t output_elements(const Case& c, int world) {
  const Motion m = c.motion.motion;
  const bool parts = c.family != Family::push && c.family != Family::ring &&
                     c.family != Family::copy_engine &&
                     (m == Motion::all_gather || m == Motion::gather || m == Motion::all_to_all);
  return parts ? c.elements * world : c.elements;
}

using Bytes_ = std::vector<std::uint8_t>;

void random_elements(DType dtype, std::mt19937& random, Bytes_& bytes) {
  std::uniform_real_distribution<float> real(-2, 2);
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
      T value{};
      if constexpr (std::is_same_v<T, Bool8>) {
        value.bits = random() & 1U;
      } else if constexpr (std::is_same_v<T, Half>) {
        value = to_half(real(random));
      } else if constexpr (std::is_same_v<T, BFloat16>) {
        value = to_bfloat16(real(random));
      } else if constexpr (std::is_floating_point_v<T>) {
        value = static_cast<T>(real(random));
      } else {
        value = static_cast<T>(random());
      }
      std::memcpy(bytes.data() + i, &value, sizeof(T));
    }
  });
}

template <ReduceOp op, class T>
void sum_as(const std::vector<Bytes_>& inputs, bool average, Bytes_& sum) {
  using E = Element<T>;
  for (std::size_t i = 0; i + sizeof(T) <= sum.size(); i += sizeof(T)) {
    const auto at = [&](std::size_t r) {
      T value;
      std::memcpy(&value, inputs[r].data() + i, sizeof(T));
      return value;
    };
    auto wide = E::widen(at(0));
    for (std::size_t r = 1; r < inputs.size(); ++r) wide = combine<op>(wide, static_cast<decltype(wide)>(E::widen(at(r))));
    if constexpr (std::is_floating_point_v<decltype(wide)>) {
      if (average) wide /= static_cast<decltype(wide)>(inputs.size());
    }
    const T value = E::narrow(wide);
    std::memcpy(sum.data() + i, &value, sizeof(T));
  }
}

Bytes_ sum_of(const std::vector<Bytes_>& inputs, DType dtype, ReduceOp op) {
  Bytes_ sum(inputs.front().size());
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return sum_as<ReduceOp::sum, T>(inputs, op == ReduceOp::avg, sum);
      case ReduceOp::min:
        return sum_as<ReduceOp::min, T>(inputs, false, sum);
      case ReduceOp::max:
        return sum_as<ReduceOp::max, T>(inputs, false, sum);
      case ReduceOp::prod:
        return sum_as<ReduceOp::prod, T>(inputs, false, sum);
    }
  });
  return sum;
}

// What rank r's output must be; empty: untouched.
Bytes_ expected(const Case& c, const std::vector<Bytes_>& in, const Bytes_& sum, int r) {
  const auto part = [&](const Bytes_& from, int index) {
    const std::size_t size = static_cast<std::size_t>(c.elements * item_bytes(c.dtype));
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(size) * index;
    return Bytes_(begin, begin + static_cast<std::ptrdiff_t>(size));
  };
  const auto n = static_cast<int>(in.size());
  const int root = c.motion.root.value();
  const auto own = static_cast<std::size_t>(r);
  Bytes_ all;
  const bool all_reduce = c.family != Family::direct && c.family != Family::copy_moves;
  switch (all_reduce ? Motion::two_shot : c.motion.motion) {
    case Motion::one_shot:
    case Motion::one_shot_held:
    case Motion::two_shot:
      return sum;
    case Motion::reduce:
      return r == root ? sum : all;
    case Motion::reduce_scatter:
      return part(sum, r);
    case Motion::broadcast:
      return in[static_cast<std::size_t>(root)];
    case Motion::scatter:
      return part(in[static_cast<std::size_t>(root)], r);
    case Motion::send:
      return r == c.motion.peer.value() ? in[static_cast<std::size_t>(root)] : all;
    case Motion::gather:
      if (r != root) return all;
      [[fallthrough]];
    case Motion::all_gather:
      for (const Bytes_& from : in) all.insert(all.end(), from.begin(), from.end());
      return all;
    case Motion::all_to_all:
      for (int q = 0; q < n; ++q) {
        const Bytes_ from = part(in[static_cast<std::size_t>(q)], static_cast<int>(own));
        all.insert(all.end(), from.begin(), from.end());
      }
      return all;
  }
  return all;
}

// Device memory of one case on all ranks.
struct Buffers {
  std::vector<void*> bases_in, bases_out, in, out;
  std::vector<Bytes_> host;
  std::size_t input_bytes = 0, output_bytes = 0;
  const Ranks& ranks;

  Buffers(const Ranks& owner, const Case& c, bool in_place, std::size_t shift_in,
          std::size_t shift_out, std::mt19937& random)
      : ranks(owner) {
    const auto item = static_cast<std::size_t>(item_bytes(c.dtype));
    input_bytes = static_cast<std::size_t>(input_elements(c, ranks.world())) * item;
    output_bytes = static_cast<std::size_t>(output_elements(c, ranks.world())) * item;
    for (int r = 0; r < ranks.world(); ++r) {
      const CurrentDevice current(ranks.device_of(r));
      host.emplace_back(input_bytes);
      random_elements(c.dtype, random, host.back());
      bases_out.push_back(allocate(output_bytes + 3 * kGuard));
      // Different ranks, different shifts: nothing lines up.
      const std::size_t by_rank = shift_in == shift_out ? 0 : static_cast<std::size_t>(r);
      out.push_back(static_cast<std::byte*>(bases_out.back()) + kGuard +
                    (shift_out + by_rank) % 16 * item % 128);
      if (in_place) {
        in.push_back(out.back());
      } else {
        bases_in.push_back(allocate(input_bytes + 3 * kGuard));
        in.push_back(static_cast<std::byte*>(bases_in.back()) + kGuard + shift_in * item);
      }
      check_cuda(cudaMemcpy(in.back(), host.back().data(), input_bytes, cudaMemcpyDefault), "copy");
    }
    for (const int d : {0, 1}) {
      if (d >= device_count(DeviceKind::cuda)) continue;
      const CurrentDevice current(d);
      check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
  }
  ~Buffers() {
    for (void* p : bases_in) cudaFree(p);
    for (void* p : bases_out) cudaFree(p);
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  static void* allocate(std::size_t bytes) {
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, bytes), "cudaMalloc");
    check_cuda(cudaMemset(memory, 0xee, bytes), "cudaMemset");
    return memory;
  }

  // Wrong bytes, in and around the outputs.
  std::size_t wrong(const Case& c, bool in_place) const {
    std::size_t count = 0;
    const bool sums = c.family != Family::copy_moves && c.motion.motion <= Motion::reduce_scatter;
    const Bytes_ sum = sums ? sum_of(host, c.dtype, c.op) : Bytes_();
    for (int r = 0; r < ranks.world(); ++r) {
      const auto own = static_cast<std::size_t>(r);
      const Bytes_ right = expected(c, host, sum, r);
      Bytes_ all(output_bytes + 3 * kGuard);
      check_cuda(cudaMemcpy(all.data(), bases_out[own], all.size(), cudaMemcpyDefault), "copy");
      const auto begin = static_cast<std::size_t>(static_cast<std::byte*>(out[own]) -
                                                  static_cast<std::byte*>(bases_out[own]));
      for (std::size_t i = 0; i < all.size(); ++i) {
        const bool inside = i >= begin && i < begin + output_bytes;
        std::uint8_t want = 0xee;
        if (inside && !right.empty()) want = right[i - begin];
        if (inside && right.empty() && in_place) want = host[own][i - begin];
        count += all[i] != want;
      }
    }
    return count;
  }
};

std::string text(const Case& c, int world) {
  char line[160];
  std::snprintf(line, sizeof(line), "family %d motion %d op %d dtype %d world %d elements %lld",
                static_cast<int>(c.family), static_cast<int>(c.motion.motion),
                static_cast<int>(c.op), static_cast<int>(c.dtype), world,
                static_cast<long long>(c.elements));
  return line;
}

class Checker {
 public:
  explicit Checker(const std::vector<int>& devices)
      : ranks_(devices, 10, 0xfffffff0U, {2, 3, 5, 2}) {}

  // One case by itself.
  void one(Case c, bool in_place, std::size_t shift_in, std::size_t shift_out) {
    const Buffers buffers(ranks_, c, in_place, shift_in, shift_out, random_);
    const Plan plan = ranks_.plan(c, buffers.in, buffers.out);
    const bool moves = c.family == Family::direct || c.family == Family::copy_moves;
    const bool held = moves && c.motion.motion == Motion::one_shot_held;
    if ((moves && !moves_can(c.motion, plan)) || (held && !direct_can_hold(plan))) {
      ++refused_;
      return;
    }
    ranks_.enqueue(c, plan);
    look(c, buffers, in_place);
  }

  void look(const Case& c, const Buffers& buffers, bool in_place) {
    if (!ranks_.settle()) {
      std::printf("STUCK %s\n", text(c, ranks_.world()).c_str());
      std::fflush(stdout);
      std::_Exit(3);
    }
    ++cases_;
    const std::size_t wrong = buffers.wrong(c, in_place);
    if (wrong == 0) return;
    if (++failed_ < 20) {
      std::printf("WRONG %zu bytes: %s in place %d\n", wrong, text(c, ranks_.world()).c_str(),
                  in_place);
    }
  }

  // Operations of changing family and size in flight together.
  void mixed() {
    const Family families[] = {Family::direct, Family::push, Family::ring, Family::copy_engine,
                               Family::direct};
    for (int round = 0; round < 12; ++round) {
      std::vector<Case> cases;
      std::vector<std::unique_ptr<Buffers>> buffers;
      for (int i = 0; i < 6; ++i) {
        Case c;
        c.family = families[random_() % 5];
        c.motion.motion = random_() % 2 ? Motion::two_shot : Motion::one_shot;
        c.elements = 1 + static_cast<std::int64_t>(random_() % 400000);
        c.blocks = 1 + static_cast<std::int32_t>(random_() % 64);
        // The ring rounds at every addition: only with two ranks as the others do, and exact sums.
        c.dtype = DType::i32;
        cases.push_back(c);
        buffers.push_back(std::make_unique<Buffers>(ranks_, c, false, 0, 0, random_));
      }
      for (std::size_t i = 0; i < cases.size(); ++i) {
        ranks_.enqueue(cases[i], ranks_.plan(cases[i], buffers[i]->in, buffers[i]->out));
      }
      for (std::size_t i = 0; i < cases.size(); ++i) look(cases[i], *buffers[i], false);
    }
  }

  void all_reduces() {
    const DType dtypes[] = {DType::bool_, DType::u8,  DType::i8,   DType::i16, DType::i32,
                            DType::i64,   DType::f16, DType::bf16, DType::f32, DType::f64};
    const ReduceOp ops[] = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max,
                            ReduceOp::prod};
    for (const DType dtype : dtypes) {
      const bool real = dtype >= DType::f16;
      for (const ReduceOp op : ops) {
        if (op == ReduceOp::avg && !real) continue;
        for (const std::int64_t elements : {1003, 70001}) {
          for (const bool in_place : {false, true}) {
            for (const Motion motion :
                 {Motion::one_shot, Motion::one_shot_held, Motion::two_shot}) {
              one({Family::direct, {motion}, op, dtype, elements}, in_place, 0, 0);
            }
            one({Family::push, {}, op, dtype, elements}, in_place, 0, 0);
            one({Family::copy_engine, {}, op, dtype, elements}, in_place, 0, 0);
          }
        }
        one({Family::direct, {Motion::two_shot}, op, dtype, 5003}, false, 3, 3);
        one({Family::direct, {Motion::two_shot}, op, dtype, 5003}, true, 5, 5);
        one({Family::direct, {Motion::one_shot_held}, op, dtype, 5003}, true, 5, 5);
        one({Family::direct, {Motion::one_shot}, op, dtype, 5003}, false, 1, 2);
        one({Family::copy_engine, {}, op, dtype, 5003}, false, 1, 2);
      }
    }
    for (const std::int64_t elements : {1, 2, 31, 4096, 1 << 20, 5000011}) {
      for (const bool in_place : {false, true}) {
        one({Family::direct, {Motion::two_shot}, ReduceOp::sum, DType::f32, elements}, in_place, 0, 0);
        one({Family::direct, {Motion::one_shot}, ReduceOp::sum, DType::f32, elements}, in_place, 0, 0);
        one({Family::direct, {Motion::one_shot_held}, ReduceOp::sum, DType::bf16, elements}, in_place, 0,
            0);
        one({Family::push, {}, ReduceOp::sum, DType::f32, elements, 7}, in_place, 0, 0);
        one({Family::push, {}, ReduceOp::sum, DType::bf16, elements, 128, 8192}, in_place, 0, 0);
        one({Family::copy_engine, {}, ReduceOp::sum, DType::f32, elements}, in_place, 0, 0);
      }
    }
  }

  void motions() {
    const int n = ranks_.world();
    for (int m = static_cast<int>(Motion::reduce); m <= static_cast<int>(Motion::send); ++m) {
      for (const DType dtype : {DType::u8, DType::bf16, DType::f32, DType::f64}) {
        for (const std::int64_t elements : {1, 1021, 4096, 66000}) {
          const MotionPlan motion{static_cast<Motion>(m), Rank(n / 2), Rank(n - 1 - n / 2)};
          for (const std::size_t shift : {0, 3}) {
            for (const bool up : {false, true}) {
              one({Family::direct, motion, ReduceOp::sum, dtype, elements}, false, shift,
                  shift + (up ? 1 : 0));
            }
            if (m <= static_cast<int>(Motion::reduce_scatter)) continue;
            one({Family::copy_moves, motion, ReduceOp::sum, dtype, elements}, false, shift, shift);
          }
          if (m == static_cast<int>(Motion::reduce) || m == static_cast<int>(Motion::broadcast)) {
            one({Family::direct, motion, ReduceOp::sum, dtype, elements}, true, 0, 0);
          }
        }
      }
    }
  }

  int report() const {
    std::printf("check: world %d: %d cases, %d refused in place, %d wrong\n", ranks_.world(), cases_,
                refused_, failed_);
    return failed_ == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  }

 private:
  Ranks ranks_;
  std::mt19937 random_{7};
  int cases_ = 0;
  int refused_ = 0;
  int failed_ = 0;
};

std::vector<int> parse_devices(const std::string& list) {
  std::vector<int> devices;
  for (std::size_t at = 0; at < list.size(); at += 2) devices.push_back(list[at] - '0');
  return devices;
}

// Rank 1 never launched, or stopped at a step: everybody leaves in time and says why.
int faults() {
  int failed = 0;
  for (const Family family : {Family::direct, Family::push}) {
    for (const int step : {-1, 0, 1}) {
      const Ranks ranks({0, 1}, 0.3, 0, {});
      const Case c{family, {Motion::two_shot}, ReduceOp::sum, DType::f32, 100000, 8};
      std::mt19937 random(1);
      const Buffers buffers(ranks, c, false, 0, 0, random);
      Plan plan = ranks.plan(c, buffers.in, buffers.out);
      if (step >= 0) plan.fault = {FaultPoint::Action::stop, 1, step, 0};
      const auto begin = std::chrono::steady_clock::now();
      ranks.enqueue_one(c, plan, 0);
      if (step >= 0) ranks.enqueue_one(c, plan, 1);
      const bool settled = ranks.settle();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      const fabric::FaultRecord& r0 = *ranks.fabric().fault_record(Rank(0), 0);
      const fabric::FaultRecord& r1 = *ranks.fabric().fault_record(Rank(1), 0);
      const bool first = r0.outcome == fabric::Outcome::timeout || r0.outcome == fabric::Outcome::aborted;
      const bool fine = settled && took.count() < 1.5 && first && r0.peer == 1 &&
                        (step < 0 || (r1.outcome == fabric::Outcome::stopped && r1.step == step));
      failed += !fine;
      std::printf("fault: family %d step %d: %.2f s, rank 0 outcome %u step %d peer %d expected %u seen %u, rank 1 outcome %u: %s\n",
                  static_cast<int>(family), step, took.count(), static_cast<unsigned>(r0.outcome),
                  r0.step, r0.peer, r0.expected, r0.seen, static_cast<unsigned>(r1.outcome),
                  fine ? "ok" : "WRONG");
    }
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

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
    const CopyEngines::Options options[] = {{1, 2, 2, 0}, {1, 2, 2, 1}, {1, 2, 2, 99},
                                            {1, 2, 4, 1}, {1, 2, 4, 99}, {1, 4, 4, 99}};
    for (const CopyEngines::Options& o : options) {
      ranks_.push_back(
          std::make_unique<Ranks>(std::vector<int>{0, 1}, 10.0, 0, o));
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
    const std::vector<void*>& from = in_place ? out_ : in_;
    const int iterations = bytes <= (4 << 20) ? 40 : bytes <= (64 << 20) ? 10 : 3;
    const auto elements = static_cast<std::int64_t>(bytes / sizeof(float));
    std::vector<std::string> names;
    std::vector<std::function<double()>> replays;
    std::vector<std::function<void()>> once;
    std::vector<std::shared_ptr<void>> kept;
    const Ranks& ranks = *ranks_.front();
    const auto add_graph = [&](const std::string& name, const std::function<void()>& enqueue) {
      auto timer = std::make_shared<GraphTimer>(ranks.streams(), iterations, enqueue);
      kept.push_back(timer);
      names.push_back(name);
      once.push_back(enqueue);
      replays.push_back([timer] { return timer->replay(); });
    };
    const auto add = [&](const std::string& name, const Case& c) {
      auto plan = std::make_shared<Plan>(ranks.plan(c, from, out_));
      add_graph(name, [&ranks, c, plan] { ranks.enqueue(c, *plan); });
    };
    const auto small = bytes <= (16 << 20);
    for (const std::int32_t blocks : {16, 32, 64, 128}) {
      const std::string b = "_b" + std::to_string(blocks);
      if (blocks < 64 && bytes > (1 << 20)) continue;
      if (!in_place && small) {
        add("one_shot" + b, {Family::direct, {Motion::one_shot}, ReduceOp::sum, DType::f32, elements, blocks});
      }
      const Case held{Family::direct, {Motion::one_shot_held}, ReduceOp::sum, DType::f32, elements,
                      blocks};
      if (direct_can_hold(ranks.plan(held, from, out_))) add("held" + b, held);
      if (bytes <= (64 << 20)) {
        add("two_shot" + b, {Family::direct, {Motion::two_shot}, ReduceOp::sum, DType::f32, elements, blocks});
      }
      if (blocks >= 64 && bytes >= (1 << 20)) {
        for (const std::int64_t piece : {16 << 10, 32 << 10, 64 << 10}) {
          if (blocks == 64 && piece != (32 << 10)) continue;
          add("push" + b + "_" + std::to_string(piece >> 10) + "k",
              {Family::push, {}, ReduceOp::sum, DType::f32, elements, blocks, piece});
        }
      }
    }
    add("ring", {Family::ring, {}, ReduceOp::sum, DType::f32, elements, 64});
    add_graph("nccl", [&] { nccl_.all_reduce(from, out_, bytes / sizeof(float), ranks.streams()); });
    for (std::size_t i = 0; bytes >= (16 << 20) && i < ranks_.size(); ++i) {
      const Ranks& own = *ranks_[i];
      const Case c{Family::copy_engine, {}, ReduceOp::sum, DType::f32, elements};
      auto plan = std::make_shared<Plan>(own.plan(c, from, out_));
      const std::function<void()> enqueue = [&own, c, plan] { own.enqueue(c, *plan); };
      auto graph = std::make_shared<WholeGraph>(own, iterations, enqueue);
      kept.push_back(graph);
      names.push_back(names_[i]);
      once.push_back([&own, enqueue] {
        enqueue();
        own.settle();
      });
      replays.push_back([graph] { return graph->replay(); });
    }
    std::vector<std::vector<double>> times(names.size());
    for (int round = 0; round < 6; ++round) {
      for (std::size_t i = 0; i < replays.size(); ++i) {
        const double time = replays[i]();
        if (round > 0) times[i].push_back(time);
      }
    }
    std::printf("%10zu %s", bytes, in_place ? "in " : "out");
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::sort(times[i].begin(), times[i].end());
      std::printf(" %s=%.2f%s", names[i].c_str(), times[i][times[i].size() / 2],
                  right(bytes, in_place, once[i]) ? "" : "(WRONG)");
    }
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
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
        check_cuda(cudaMemcpy(to + at, to, std::min(window, bytes - at), cudaMemcpyDefault), "copy");
      }
      check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
    enqueue();
    for (int d = 0; d < 2; ++d) {
      const CurrentDevice current(d);
      check_cuda(cudaStreamSynchronize(ranks_.front()->streams()[static_cast<std::size_t>(d)]), "sync");
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

int run(const std::vector<std::string>& words) {
  if (words.size() >= 2 && words[0] == "check") {
    Checker checker(parse_devices(words[1]));
    checker.all_reduces();
    checker.motions();
    checker.mixed();
    return checker.report();
  }
  if (words.size() == 1 && words[0] == "faults") return faults();
  if (words.size() >= 2 && words[0] == "time") {
    Timing timing(words[1]);
    const std::size_t least = words.size() > 2 ? std::stoull(words[2]) : std::size_t{1} << 16;
    const std::size_t most = words.size() > 3 ? std::stoull(words[3]) : std::size_t{1} << 30;
    for (std::size_t bytes = least; bytes <= most; bytes *= 4) {
      for (const bool in_place : {false, true}) timing.run(bytes, in_place);
    }
    return EXIT_SUCCESS;
  }
  std::cerr << "usage: weft_bench_families check LIST | faults | time LIBNCCL.so.2 [LEAST [MOST]]\n";
  return 2;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  try {
    return weft::bench::run({argv + 1, argv + argc});
  } catch (const weft::Error& error) {
    std::cerr << weft::error_name(error.code()) << ": " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
