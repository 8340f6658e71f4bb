// Element-wise reductions on the device: the arithmetic of executor/reduce.h, with the hardware's
// conversions in place of the portable ones. Both round to nearest even, and give the same bits.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

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
