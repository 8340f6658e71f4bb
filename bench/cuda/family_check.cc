// Checks kernel families against the arithmetic of executor/reduce.h, bit by bit, and the bytes
// around the outputs; and that a rank that is missing lets nobody hang.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "bench/cuda/families.h"
#include "collectives/executor/reduce.h"

namespace weft::bench {
namespace {

using namespace collectives;

constexpr std::size_t kGuard = 256;

// Elements of a rank's input and output in a case.
std::int64_t input_elements(const Case& c, int world) {
  const Motion m = c.motion.motion;
  const bool parts =
      c.family != Family::push && c.family != Family::ring && c.family != Family::copy_engine &&
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

using HostBytes = std::vector<std::uint8_t>;

void random_elements(DType dtype, std::mt19937& random, HostBytes& bytes) {
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
void sum_as(const std::vector<HostBytes>& inputs, bool average, HostBytes& sum) {
  using E = Element<T>;
  for (std::size_t i = 0; i + sizeof(T) <= sum.size(); i += sizeof(T)) {
    const auto at = [&](std::size_t r) {
      T value;
      std::memcpy(&value, inputs[r].data() + i, sizeof(T));
      return value;
    };
    auto wide = E::widen(at(0));
    for (std::size_t r = 1; r < inputs.size(); ++r)
      wide = combine<op>(wide, static_cast<decltype(wide)>(E::widen(at(r))));
    if constexpr (std::is_floating_point_v<decltype(wide)>) {
      if (average) wide /= static_cast<decltype(wide)>(inputs.size());
    }
    const T value = E::narrow(wide);
    std::memcpy(sum.data() + i, &value, sizeof(T));
  }
}

HostBytes sum_of(const std::vector<HostBytes>& inputs, DType dtype, ReduceOp op) {
  HostBytes sum(inputs.front().size());
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
HostBytes expected(const Case& c, const std::vector<HostBytes>& in, const HostBytes& sum, int r) {
  const auto part = [&](const HostBytes& from, int index) {
    const std::size_t size = static_cast<std::size_t>(c.elements * item_bytes(c.dtype));
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(size) * index;
    return HostBytes(begin, begin + static_cast<std::ptrdiff_t>(size));
  };
  const auto n = static_cast<int>(in.size());
  const int root = c.motion.root.value();
  const auto own = static_cast<std::size_t>(r);
  HostBytes all;
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
      for (const HostBytes& from : in) all.insert(all.end(), from.begin(), from.end());
      return all;
    case Motion::all_to_all:
      for (int q = 0; q < n; ++q) {
        const HostBytes from = part(in[static_cast<std::size_t>(q)], static_cast<int>(own));
        all.insert(all.end(), from.begin(), from.end());
      }
      return all;
  }
  return all;
}

// Device memory of one case on all ranks.
struct Buffers {
  std::vector<void*> bases_in, bases_out, in, out;
  std::vector<HostBytes> host;
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
    const HostBytes sum = sums ? sum_of(host, c.dtype, c.op) : HostBytes();
    for (int r = 0; r < ranks.world(); ++r) {
      const auto own = static_cast<std::size_t>(r);
      const HostBytes right = expected(c, host, sum, r);
      HostBytes all(output_bytes + 3 * kGuard);
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
        one({Family::direct, {Motion::two_shot}, ReduceOp::sum, DType::f32, elements}, in_place, 0,
            0);
        one({Family::direct, {Motion::one_shot}, ReduceOp::sum, DType::f32, elements}, in_place, 0,
            0);
        one({Family::direct, {Motion::one_shot_held}, ReduceOp::sum, DType::bf16, elements},
            in_place, 0, 0);
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
    std::printf("check: world %d: %d cases, %d refused in place, %d wrong\n", ranks_.world(),
                cases_, refused_, failed_);
    return failed_ == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  }

 private:
  Ranks ranks_;
  std::mt19937 random_{7};
  int cases_ = 0;
  int refused_ = 0;
  int failed_ = 0;
};

}  // namespace

int check_families(const std::vector<int>& devices) {
  Checker checker(devices);
  checker.all_reduces();
  checker.motions();
  checker.mixed();
  return checker.report();
}

// Rank 1 never launched, or stopped at a step: everybody leaves in time and says why.
int check_faults() {
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
      const bool first =
          r0.outcome == fabric::Outcome::timeout || r0.outcome == fabric::Outcome::aborted;
      const bool fine = settled && took.count() < 1.5 && first && r0.peer == 1 &&
                        (step < 0 || (r1.outcome == fabric::Outcome::stopped && r1.step == step));
      failed += !fine;
      std::printf(
          "fault: family %d step %d: %.2f s, rank 0 outcome %u step %d peer %d expected %u seen "
          "%u, rank 1 outcome %u: %s\n",
          static_cast<int>(family), step, took.count(), static_cast<unsigned>(r0.outcome), r0.step,
          r0.peer, r0.expected, r0.seen, static_cast<unsigned>(r1.outcome), fine ? "ok" : "WRONG");
    }
  }
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace weft::bench
