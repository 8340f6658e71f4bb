// Floats of 8 and 16 bits: exact when widened, the nearest when narrowed, against a naive search.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/tensor/narrow_float.h"

namespace {

using weft::Float8E4M3;
using weft::Float8E5M2;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct E4m3 {
  using Type = Float8E4M3;
  static constexpr int kMantissa = 3;
  static constexpr int kBias = 7;
  static constexpr int kFinite = 0x7f;            // patterns from 0 that are numbers
  static constexpr std::uint8_t kTooMuch = 0x7f;  // in place of a number beyond the greatest
  static constexpr Type narrow(float x) { return weft::to_float8_e4m3(x); }
};
struct E5m2 {
  using Type = Float8E5M2;
  static constexpr int kMantissa = 2;
  static constexpr int kBias = 15;
  static constexpr int kFinite = 0x7c;
  static constexpr std::uint8_t kTooMuch = 0x7c;
  static constexpr Type narrow(float x) { return weft::to_float8_e5m2(x); }
};

// By the format's definition.
template <class Format>
double value_of(int pattern) {
  const int exponent = pattern >> Format::kMantissa;
  const int mantissa = pattern & ((1 << Format::kMantissa) - 1);
  const int leading = exponent == 0 ? 0 : 1 << Format::kMantissa;
  return std::ldexp(leading + mantissa,
                    (exponent == 0 ? 1 : exponent) - Format::kBias - Format::kMantissa);
}

// The pattern of the nearest number, of two the even one; as if there were one more beyond the
// greatest.
template <class Format>
std::uint8_t nearest(float magnitude) {
  int best = 0;
  for (int p = 1; p <= Format::kFinite; ++p) {
    const double off = std::abs(value_of<Format>(p) - magnitude);
    const double least = std::abs(value_of<Format>(best) - magnitude);
    if (off < least || (off == least && p % 2 == 0)) best = p;
  }
  return best == Format::kFinite ? Format::kTooMuch : static_cast<std::uint8_t>(best);
}

template <class Format>
void check_narrow(float magnitude) {
  const int want = nearest<Format>(magnitude);
  CHECK(Format::narrow(magnitude).bits == want);
  // NaN has one pattern; all else keeps its sign.
  const bool is_nan = want == 0x7f;
  CHECK(Format::narrow(-magnitude).bits == (is_nan ? want : want | 0x80));
}

// Constant expressions, so that host and device can share them.
static_assert(weft::to_float(Float8E4M3{0x7e}) == 448.0f);
static_assert(weft::to_float(Float8E4M3{0x01}) == 0x1p-9f);
static_assert(weft::to_float(Float8E4M3{0x81}) == -0x1p-9f);
static_assert(weft::to_float(Float8E4M3{0xff}) != weft::to_float(Float8E4M3{0xff}));
static_assert(weft::to_float8_e4m3(464.0f).bits == 0x7e);
static_assert(weft::to_float8_e4m3(0x1.d00002p+8f).bits == 0x7f);
static_assert(weft::to_float8_e4m3(-kInfinity).bits == 0x7f);
static_assert(weft::to_float8_e4m3(-kNan).bits == 0x7f);
static_assert(weft::to_float8_e4m3(0x1p-10f).bits == 0);
static_assert(weft::to_float8_e4m3(0x1.000002p-10f).bits == 1);
static_assert(weft::to_float(Float8E5M2{0x7b}) == 57344.0f);
static_assert(weft::to_float(Float8E5M2{0x01}) == 0x1p-16f);
static_assert(weft::to_float(Float8E5M2{0xfc}) == -kInfinity);
static_assert(weft::to_float8_e5m2(61440.0f).bits == 0x7c);
static_assert(weft::to_float8_e5m2(0x1.dffffep+15f).bits == 0x7b);
static_assert(weft::to_float8_e5m2(-kInfinity).bits == 0xfc);
static_assert(weft::to_float8_e5m2(-kNan).bits == 0x7f);
static_assert(weft::to_float8_e5m2(-0.0f).bits == 0x80);
static_assert(weft::to_half(65520.0f).bits == 0x7c00);
static_assert(weft::to_bfloat16(-kNan).bits == 0x7fff);

}  // namespace

TEST_CASE_TEMPLATE("every pattern of 8 bits is widened to its value and back", F, E4m3, E5m2) {
  for (int p = 0; p < 0x80; ++p) {
    for (const int sign : {0, 0x80}) {
      const auto bits = static_cast<std::uint8_t>(p | sign);
      const float wide = weft::to_float(typename F::Type{bits});
      CHECK(std::signbit(wide) == (sign != 0));
      if (p < F::kFinite) {
        CHECK(std::abs(wide) == value_of<F>(p));
      } else {
        CHECK(std::isinf(wide) == (p == 0x7c));
        CHECK(std::isnan(wide) == (p != 0x7c));
      }
      CHECK(F::narrow(wide).bits == (std::isnan(wide) ? 0x7f : bits));
    }
  }
}

TEST_CASE_TEMPLATE("what is narrowed to 8 bits is the nearest, of two the even one", F, E4m3,
                   E5m2) {
  for (int p = 0; p < F::kFinite; ++p) {
    const auto low = static_cast<float>(value_of<F>(p));
    const auto high = static_cast<float>(value_of<F>(p + 1));
    for (const float x : {low, low + (high - low) / 2, high}) {  // all exact in float32
      check_narrow<F>(x);
      check_narrow<F>(std::nextafter(x, kInfinity));
      if (x > 0) check_narrow<F>(std::nextafter(x, 0.0f));
    }
  }
  for (const float x : {std::numeric_limits<float>::max(), kInfinity, 65535.0f, 65536.0f, 511.0f}) {
    CHECK(F::narrow(x).bits == (x < 57344.0f ? nearest<F>(x) : F::kTooMuch));
  }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> exponent(-20.0f, 17.0f);
  for (int i = 0; i < 20000; ++i) check_narrow<F>(std::exp2(exponent(random)));
}

TEST_CASE("every pattern of 16 bits survives float32, but for the payload of a NaN") {
  for (int p = 0; p < 1 << 16; ++p) {
    const auto bits = static_cast<std::uint16_t>(p);
    const float half = weft::to_float(weft::Half{bits});
    const float brain = weft::to_float(weft::BFloat16{bits});
    CHECK(weft::to_half(half).bits == (std::isnan(half) ? 0x7fff : bits));
    CHECK(weft::to_bfloat16(brain).bits == (std::isnan(brain) ? 0x7fff : bits));
  }
}
