// The floating-point types that are only stored: their bits, and float32 both ways.
//
// Invariants
//   1. Widening is exact. Narrowing rounds to nearest, ties to even, once; subnormals too.
//   2. What is too great becomes an infinity of its sign, or NaN in float8_e4m3fn, which has none.
//   3. Every NaN is narrowed to the type's canonical one: all bits but the sign.
#pragma once

#include <bit>
#include <cstdint>

namespace weft {

struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};
struct Float8E4M3 {
  std::uint8_t bits;
};
struct Float8E5M2 {
  std::uint8_t bits;
};

// A magnitude in a format of `mantissa` bits below the leading one and that exponent bias: its
// bits, rounded. The result must not need a greater exponent than the format's greatest.
template <int mantissa, int bias>
constexpr std::uint32_t round_magnitude(float magnitude) {
  constexpr int kDropped = 23 - mantissa;
  constexpr std::uint32_t kRebias = std::uint32_t{127 - bias} << 23;
  const auto bits = std::bit_cast<std::uint32_t>(magnitude);
  if (bits < kRebias + (1u << 23)) {
    // The result is subnormal: adding a number whose last bit is that of the result rounds to it.
    constexpr std::uint32_t kAligned = kRebias + (std::uint32_t{kDropped + 1} << 23);
    return std::bit_cast<std::uint32_t>(magnitude + std::bit_cast<float>(kAligned)) - kAligned;
  }
  constexpr std::uint32_t kBelowHalf = (1u << (kDropped - 1)) - 1;
  return (bits - kRebias + kBelowHalf + (bits >> kDropped & 1u)) >> kDropped;
}

// The reverse, of a finite number.
template <int mantissa, int bias>
constexpr float widen_magnitude(std::uint32_t bits) {
  // Rebiasing by a multiplication also makes subnormals right.
  return std::bit_cast<float>(bits << (23 - mantissa)) *
         std::bit_cast<float>(std::uint32_t{254 - bias} << 23);
}

constexpr float with_sign(float magnitude, std::uint32_t sign) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

constexpr float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

constexpr BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

constexpr float to_float(Half value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000u) << 16;
  const std::uint32_t rest = value.bits & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  return with_sign(widen_magnitude<10, 15>(rest), sign);
}

constexpr Half to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return {0x7fff};
  if (rest >= 0x47800000u) return {static_cast<std::uint16_t>(sign | 0x7c00u)};  // 65536 and up
  return {static_cast<std::uint16_t>(sign | round_magnitude<10, 15>(std::bit_cast<float>(rest)))};
}

constexpr float to_float(Float8E4M3 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x80u) << 24;
  const std::uint32_t rest = value.bits & 0x7fu;
  if (rest == 0x7fu) return std::bit_cast<float>(sign | 0x7fffffffu);
  return with_sign(widen_magnitude<3, 7>(rest), sign);
}

constexpr Float8E4M3 to_float8_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto magnitude = std::bit_cast<float>(bits & 0x7fffffffu);
  if (!(magnitude <= 464.0f)) return {0x7f};  // half-way from the greatest, 448, to 480
  return {static_cast<std::uint8_t>((bits >> 24 & 0x80u) | round_magnitude<3, 7>(magnitude))};
}

// The upper byte of a float16.
constexpr float to_float(Float8E5M2 value) {
  return to_float(Half{static_cast<std::uint16_t>(value.bits << 8)});
}

constexpr Float8E5M2 to_float8_e5m2(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80u);
  const std::uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return {0x7f};
  if (rest >= 0x47800000u) return {static_cast<std::uint8_t>(sign | 0x7cu)};  // 65536 and up
  return {static_cast<std::uint8_t>(sign | round_magnitude<2, 15>(std::bit_cast<float>(rest)))};
}

}  // namespace weft
