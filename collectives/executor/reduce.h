// What one reduction does to two elements, for every dtype and op; shared by host and device code.
//
// Semantics (docs: "Numbers"): float16 and bfloat16 are added in float32 and rounded to nearest
// even once an addition; integers wrap; bool sum and max are OR, prod and min AND; min and max give
// NaN if either is NaN; avg is a sum that is divided once, at the last addition, before rounding.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include "collectives/plan.h"

namespace weft::collectives {

// The bits of a float16 or bfloat16; arithmetic is done in float32.
struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};
// A bool as NumPy and PyTorch store it: 0 or 1.
struct Bool8 {
  std::uint8_t bits;
};

constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

constexpr BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // every NaN: the canonical one
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

constexpr float to_float(Half value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // Rebiasing by a multiplication also makes subnormals right.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

constexpr Half to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return {0x7fff};  // every NaN: the canonical one
  if (rest >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // 65536 and up
  if (rest < 0x38800000u) {
    // Below 2^-14 the result is subnormal: adding 0.5 lines its last bit up with float32's,
    // rounding.
    const float aligned = std::bit_cast<float>(rest) + 0.5f;
    return {
        static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3f000000u))};
  }
  const std::uint32_t rounded = rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u);
  return {static_cast<std::uint16_t>(sign | rounded >> 13)};
}

// How an element type is computed with: `Wide` and the two conversions.
template <class T>
struct Element {
  using Wide = T;
  static constexpr Wide widen(T x) { return x; }
  static constexpr T narrow(Wide x) { return x; }
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
