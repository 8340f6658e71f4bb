#include "bench/cuda/flagged_checker.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <type_traits>

#include "collectives/executor/reduce.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {
namespace {

using collectives::ReduceOp;

template <class T>
bool is_nan(T value) {
  const auto wide = collectives::Element<T>::widen(value);
  if constexpr (std::is_floating_point_v<decltype(wide)>) return std::isnan(wide);
  return false;
}

template <ReduceOp op, class T>
T reduced(const std::vector<const T*>& inputs, std::size_t i, int divisor) {
  using E = collectives::Element<T>;
  auto wide = E::widen(inputs[0][i]);
  for (std::size_t r = 1; r < inputs.size(); ++r) {
    wide = collectives::combine<op>(wide, E::widen(inputs[r][i]));
  }
  if constexpr (std::is_floating_point_v<decltype(wide)>) {
    if (divisor != 0) wide /= static_cast<decltype(wide)>(divisor);
  }
  return E::narrow(wide);
}

template <class T>
T expected(ReduceOp op, const std::vector<const T*>& inputs, std::size_t i) {
  switch (op) {
    case ReduceOp::sum:
      return reduced<ReduceOp::sum>(inputs, i, 0);
    case ReduceOp::avg:
      return reduced<ReduceOp::sum>(inputs, i, static_cast<int>(inputs.size()));
    case ReduceOp::min:
      return reduced<ReduceOp::min>(inputs, i, 0);
    case ReduceOp::max:
      return reduced<ReduceOp::max>(inputs, i, 0);
    case ReduceOp::prod:
      break;
  }
  return reduced<ReduceOp::prod>(inputs, i, 0);
}

constexpr int kPoison = 0xa5;
constexpr std::int64_t kMargin = 256;

void copy_bytes(void* to, const void* from, std::size_t bytes) {
  check_cuda(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
}

}  // namespace

Checker::Checker(const RigOptions& options) : rig_(options) {
  std::mt19937_64 random(42);
  for (int r = 0; r < options.ranks; ++r) {
    Buffer bytes(options.bytes);
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const std::uint64_t word = random();
      std::memcpy(&bytes[i], &word, 8);
    }
    std::fill_n(bytes.begin(), 64, std::uint8_t{0xff});  // NaNs that are all ones
    inputs_.push_back(std::move(bytes));
    outputs_.emplace_back(options.bytes);
  }
  upload();
}

void Checker::upload() {
  for (int r = 0; r < rig_.options().ranks; ++r) {
    copy_bytes(rig_.input(r), inputs_[at(r)].data(), inputs_[at(r)].size());
  }
}

void Checker::make_bools() {
  for (Buffer& bytes : inputs_) {
    for (std::uint8_t& byte : bytes) byte &= 1;
  }
  upload();
}

void Checker::run(const Call& call) {
  if (!rig_.serves(call)) return;
  ++calls_;
  poison(call);
  if (const auto error = rig_.run(call)) return fail_call(call, error->what());
  const std::int64_t item = item_bytes(call.dtype);
  const std::int64_t begin = call.out_offset * item;
  const std::int64_t end = begin + call.elements * item;
  download(end + kMargin);
  for (const Buffer& bytes : outputs_) {
    const auto untouched = [](std::uint8_t byte) { return byte == kPoison; };
    if (!std::all_of(bytes.begin(), bytes.begin() + begin, untouched) ||
        !std::all_of(bytes.begin() + end, bytes.begin() + end + kMargin, untouched)) {
      return fail_call(call, "written outside");
    }
  }
  verify(call);
}

void Checker::run_all(const std::vector<Call>& calls) {
  std::vector<std::shared_ptr<fabric::Operation>> operations;
  for (const Call& call : calls) operations.push_back(rig_.start(call));
  for (std::size_t i = 0; i < calls.size(); ++i) {
    ++calls_;
    operations[i]->wait_until(Deadline::after_ns(60'000'000'000));
    if (const auto error = operations[i]->error()) return fail_call(calls[i], error->what());
  }
  const Call& last = calls.back();
  download((last.out_offset + last.elements) * item_bytes(last.dtype));
  for (const Call& call : calls) verify(call);
}

void Checker::fail_call(const Call& call, const char* why) {
  if (++failures_ > 20) return;
  std::printf("FAILED %s ranks=%d dtype=%d op=%d n=%lld in=%lld out=%lld in_place=%d: %s\n",
              name(call.family), rig_.options().ranks, static_cast<int>(call.dtype),
              static_cast<int>(call.op), static_cast<long long>(call.elements),
              static_cast<long long>(call.in_offset), static_cast<long long>(call.out_offset),
              call.in_place, why);
}

void Checker::poison(const Call& call) {
  const std::int64_t item = item_bytes(call.dtype);
  const std::int64_t bytes = call.elements * item;
  for (int r = 0; r < rig_.options().ranks; ++r) {
    const CurrentDevice current(r % rig_.options().devices);
    const auto all = static_cast<std::size_t>(call.out_offset * item + bytes + kMargin);
    check_cuda(cudaMemset(rig_.output(r), kPoison, all), "cudaMemset");
    if (call.in_place) {
      copy_bytes(rig_.output(r) + call.out_offset * item, rig_.input(r) + call.in_offset * item,
                 static_cast<std::size_t>(bytes));
    }
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
}

void Checker::download(std::int64_t bytes) {
  for (int r = 0; r < rig_.options().ranks; ++r) {
    copy_bytes(outputs_[at(r)].data(), rig_.output(r), static_cast<std::size_t>(bytes));
  }
}

void Checker::verify(const Call& call) {
  collectives::with_element(call.dtype, [&](auto element) {
    using T = decltype(element);
    std::vector<const T*> inputs;
    for (const Buffer& bytes : inputs_) {
      inputs.push_back(reinterpret_cast<const T*>(bytes.data()) + call.in_offset);
    }
    const T* output = reinterpret_cast<const T*>(outputs_[0].data()) + call.out_offset;
    for (std::int64_t i = 0; i < call.elements; ++i) {
      const T want = expected(call.op, inputs, static_cast<std::size_t>(i));
      if (std::memcmp(&want, output + i, sizeof(T)) == 0) continue;
      if (is_nan(want) && is_nan(output[i])) continue;
      return fail_call(call, concat("wrong at element ", i).c_str());
    }
  });
  const std::int64_t item = item_bytes(call.dtype);
  for (std::size_t r = 1; r < outputs_.size(); ++r) {
    if (std::memcmp(outputs_[r].data() + call.out_offset * item,
                    outputs_[0].data() + call.out_offset * item,
                    static_cast<std::size_t>(call.elements * item)) != 0) {
      return fail_call(call, "the ranks differ");
    }
  }
}

}  // namespace weft::bench
