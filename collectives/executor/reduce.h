// What one reduction does to two elements, for every dtype and op; shared by host and device code.
//
// Semantics (docs: "Numbers"): floats of 8 and 16 bits are added in float32 and rounded to nearest
// even once an addition; integers wrap; bool sum and max are OR, prod and min AND; min and max give
// NaN if either is NaN; avg is a sum that is divided once, at the last addition, before rounding.
#pragma once

#include <cstdint>
#include <type_traits>

#include "collectives/plan.h"
#include "core/tensor/narrow_float.h"

namespace weft::collectives {

// A bool as NumPy and PyTorch store it: 0 or 1.
struct Bool8 {
  std::uint8_t bits;
};

// How an element type is computed with: `Wide` and the two conversions.
template <class T>
struct Element {
  using Wide = T;
  static constexpr Wide widen(T x) { return x; }
  static constexpr T narrow(Wide x) { return x; }
};
template <>
struct Element<Float8E4M3> {
  using Wide = float;
  static constexpr float widen(Float8E4M3 x) { return to_float(x); }
  static constexpr Float8E4M3 narrow(float x) { return to_float8_e4m3(x); }
};
template <>
struct Element<Float8E5M2> {
  using Wide = float;
  static constexpr float widen(Float8E5M2 x) { return to_float(x); }
  static constexpr Float8E5M2 narrow(float x) { return to_float8_e5m2(x); }
};
template <>
struct Element<Half> {
  using Wide = float;
  static constexpr float widen(Half x) { return to_float(x); }
  static constexpr Half narrow(float x) { return to_half(x); }
};
template <>
struct Element<BFloat16> {
  using Wide = float;
  static constexpr float widen(BFloat16 x) { return to_float(x); }
  static constexpr BFloat16 narrow(float x) { return to_bfloat16(x); }
};

template <ReduceOp op, class T>
constexpr T combine(T a, T b) {
  if constexpr (std::is_same_v<T, Bool8>) {
    constexpr bool either = op == ReduceOp::sum || op == ReduceOp::max;
    const bool x = a.bits != 0;
    const bool y = b.bits != 0;
    return {static_cast<std::uint8_t>(either ? (x || y) : (x && y))};
  } else if constexpr (op == ReduceOp::min || op == ReduceOp::max) {
    if constexpr (std::is_floating_point_v<T>) {
      if (a != a) return a;
      if (b != b) return b;
    }
    return op == ReduceOp::min ? (b < a ? b : a) : (a < b ? b : a);
  } else if constexpr (std::is_integral_v<T>) {
    // At least 32 bits wide and unsigned, so that nothing promotes to int and overflows.
    using U = std::conditional_t<(sizeof(T) < 4), std::uint32_t, std::make_unsigned_t<T>>;
    const U x = static_cast<U>(a);
    const U y = static_cast<U>(b);
    return static_cast<T>(op == ReduceOp::prod ? x * y : x + y);
  } else {
    return op == ReduceOp::prod ? a * b : a + b;
  }
}

// A finished sum: divided, if `divisor` is not 0 (the last addition of an average), and rounded.
template <class T>
constexpr T finish_element(typename Element<T>::Wide wide, int divisor) {
  if constexpr (std::is_floating_point_v<decltype(wide)>) {
    if (divisor != 0) wide = wide / static_cast<decltype(wide)>(divisor);
  }
  return Element<T>::narrow(wide);
}

// A reduction of two.
template <ReduceOp op, class T>
constexpr T reduce_element(T a, T b, int divisor) {
  using E = Element<T>;
  return finish_element<T>(combine<op>(E::widen(a), E::widen(b)), divisor);
}

// Calls f(T{}) with the element type of a dtype.
template <class F>
constexpr decltype(auto) with_element(DType dtype, const F& f) {
  switch (dtype) {
    case DType::bool_:
      return f(Bool8{});
    case DType::u8:
      return f(std::uint8_t{});
    case DType::i8:
      return f(std::int8_t{});
    case DType::i16:
      return f(std::int16_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::i64:
      return f(std::int64_t{});
    case DType::f8_e4m3fn:
      return f(Float8E4M3{});
    case DType::f8_e5m2:
      return f(Float8E5M2{});
    case DType::f16:
      return f(Half{});
    case DType::bf16:
      return f(BFloat16{});
    case DType::f32:
      return f(float{});
    case DType::f64:
      break;
  }
  return f(double{});
}

}  // namespace weft::collectives
