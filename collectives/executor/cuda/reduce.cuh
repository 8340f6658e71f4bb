// Element-wise reductions on the device: the arithmetic of executor/reduce.h, with the hardware's
// conversions in place of the portable ones. Both round to nearest even, and give the same bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <type_traits>

#include "collectives/executor/reduce.h"

namespace weft::collectives::cuda {

template <class T>
struct DeviceElement : Element<T> {};
template <>
struct DeviceElement<Half> {
  static __device__ float widen(Half x) { return __half2float(__ushort_as_half(x.bits)); }
  static __device__ Half narrow(float x) { return {__half_as_ushort(__float2half_rn(x))}; }
};
template <>
struct DeviceElement<BFloat16> {
  static __device__ float widen(BFloat16 x) { return to_float(x); }
  static __device__ BFloat16 narrow(float x) {
    return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
  }
};

// The hardware's conversions saturate, which is put right without a branch. Older GPUs have none:
// there the portable ones serve.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
template <>
struct DeviceElement<Float8E4M3> {
  static __device__ float widen(Float8E4M3 x) {
    return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.bits, __NV_E4M3)));
  }
  static __device__ Float8E4M3 narrow(float x) {
    const std::uint8_t bits = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
    return {fabsf(x) <= 464.0f ? bits : std::uint8_t{0x7f}};  // half-way from the greatest to 480
  }
};
template <>
struct DeviceElement<Float8E5M2> {
  static __device__ float widen(Float8E5M2 x) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(x.bits << 8)));
  }
  static __device__ Float8E5M2 narrow(float x) {
    const std::uint8_t bits = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E5M2);
    // Half-way from the greatest to 65536: what comes after its bits are those of infinity.
    const int infinite = fabsf(x) >= 61440.0f ? 1 : 0;
    return {x == x ? static_cast<std::uint8_t>(bits + infinite) : std::uint8_t{0x7f}};
  }
};
#endif

// One step of a reduction; `divisor` is 0 except at the last addition of an average.
template <ReduceOp op, class T>
struct Combine {
  using type = T;
  int divisor;
  __device__ T operator()(T partial, T own) const {
    using E = DeviceElement<T>;
    auto wide = combine<op>(E::widen(partial), E::widen(own));
    if constexpr (std::is_floating_point_v<decltype(wide)>) {
      if (op == ReduceOp::sum && divisor != 0) wide /= static_cast<decltype(wide)>(divisor);
    }
    return E::narrow(wide);
  }
};

// Calls use(functor) with the Combine of that dtype and op. `last`: this is the chunk's last
// reduction, of `count` ranks' elements.
template <class Use>
__device__ void with_combine(DType dtype, ReduceOp op, bool last, int count, const Use& use) {
  const int divisor = op == ReduceOp::avg && last ? count : 0;
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return use(Combine<ReduceOp::sum, T>{divisor});
      case ReduceOp::min:
        return use(Combine<ReduceOp::min, T>{0});
      case ReduceOp::max:
        return use(Combine<ReduceOp::max, T>{0});
      case ReduceOp::prod:
        return use(Combine<ReduceOp::prod, T>{0});
    }
  });
}

}  // namespace weft::collectives::cuda
