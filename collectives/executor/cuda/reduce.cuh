// Element-wise reductions on the device, of every dtype and op: the numbers of the public interface.
//
// Invariants
//   1. f16 and bf16 are combined in float32 and rounded once, to nearest even. `avg` divides before
//      that rounding.
//   2. Integers wrap. bool: sum and max are or, prod and min are and.
//   3. min and max of a NaN and anything is a NaN.
//   4. The partial result of the ranks before comes first, the rank's own element second.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "collectives/plan.h"
#include "core/tensor/dtype.h"

namespace weft::collectives::cuda {

// A bool is a byte of its own kind: ops on it are logical.
struct Bool {
  std::uint8_t byte;
};

// The type in which elements of T are combined, and the ways there and back.
template <class T>
struct Widen {
  using type = T;
  static __device__ T up(T x) { return x; }
  static __device__ T down(T x) { return x; }
};
template <>
struct Widen<__half> {
  using type = float;
  static __device__ float up(__half x) { return __half2float(x); }
  static __device__ __half down(float x) { return __float2half_rn(x); }
};
template <>
struct Widen<__nv_bfloat16> {
  using type = float;
  static __device__ float up(__nv_bfloat16 x) { return __bfloat162float(x); }
  static __device__ __nv_bfloat16 down(float x) { return __float2bfloat16_rn(x); }
};

template <ReduceOp op, class W>
__device__ W combine_wide(W partial, W own) {
  if constexpr (op == ReduceOp::min) {
    if constexpr (std::is_floating_point_v<W>) {
      if (partial != partial || own != own) return partial + own;
    }
    return own < partial ? own : partial;
  } else if constexpr (op == ReduceOp::max) {
    if constexpr (std::is_floating_point_v<W>) {
      if (partial != partial || own != own) return partial + own;
    }
    return partial < own ? own : partial;
  } else if constexpr (std::is_floating_point_v<W>) {
    return op == ReduceOp::prod ? partial * own : partial + own;
  } else {
    using U = std::conditional_t<sizeof(W) == 8, std::uint64_t, std::uint32_t>;
    const U a = static_cast<U>(partial);
    const U b = static_cast<U>(own);
    return static_cast<W>(op == ReduceOp::prod ? a * b : a + b);
  }
}

template <ReduceOp op, class T>
struct Combine {
  using type = T;
  __device__ T operator()(T partial, T own) const {
    if constexpr (std::is_same_v<T, Bool>) {
      constexpr bool both = op == ReduceOp::prod || op == ReduceOp::min;
      const bool a = partial.byte != 0;
      const bool b = own.byte != 0;
      return Bool{static_cast<std::uint8_t>(both ? a && b : a || b)};
    } else {
      using W = Widen<T>;
      return W::down(combine_wide<op, typename W::type>(W::up(partial), W::up(own)));
    }
  }
};

// The last sum of an average: the quotient, rounded once.
template <class T>
struct CombineAverage {
  using type = T;
  int count;
  __device__ T operator()(T partial, T own) const {
    using W = Widen<T>;
    using Wide = typename W::type;
    return W::down((W::up(partial) + W::up(own)) / static_cast<Wide>(count));
  }
};

template <class T, class Use>
__device__ void with_combine(ReduceOp op, bool last, int count, Use use) {
  if constexpr (!std::is_integral_v<T> && !std::is_same_v<T, Bool>) {
    if (op == ReduceOp::avg && last) return use(CombineAverage<T>{count});
  }
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::avg:
      return use(Combine<ReduceOp::sum, T>{});
    case ReduceOp::min:
      return use(Combine<ReduceOp::min, T>{});
    case ReduceOp::max:
      return use(Combine<ReduceOp::max, T>{});
    case ReduceOp::prod:
      return use(Combine<ReduceOp::prod, T>{});
  }
}

// Calls use(functor) with the functor of that dtype and op; functor::type is the element's type.
// `last`: this is the chunk's last reduction, of `count` ranks' elements.
template <class Use>
__device__ void with_combine(DType dtype, ReduceOp op, bool last, int count, Use use) {
  switch (dtype) {
    case DType::bool_:
      return with_combine<Bool>(op, last, count, use);
    case DType::u8:
      return with_combine<std::uint8_t>(op, last, count, use);
    case DType::i8:
      return with_combine<std::int8_t>(op, last, count, use);
    case DType::i16:
      return with_combine<std::int16_t>(op, last, count, use);
    case DType::i32:
      return with_combine<std::int32_t>(op, last, count, use);
    case DType::i64:
      return with_combine<std::int64_t>(op, last, count, use);
    case DType::f16:
      return with_combine<__half>(op, last, count, use);
    case DType::bf16:
      return with_combine<__nv_bfloat16>(op, last, count, use);
    case DType::f32:
      return with_combine<float>(op, last, count, use);
    case DType::f64:
      return with_combine<double>(op, last, count, use);
  }
}

}  // namespace weft::collectives::cuda
