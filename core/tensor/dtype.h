// Element types: their names, sizes and classes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace weft {

// Those of 8 bits are named for their exponent and mantissa: e4m3fn has no infinity.
enum class DType : std::uint8_t {
  bool_,
  u8,
  i8,
  i16,
  i32,
  i64,
  f8_e4m3fn,
  f8_e5m2,
  f16,
  bf16,
  f32,
  f64
};

inline constexpr int kDTypeCount = 12;

constexpr std::int64_t item_bytes(DType dtype) {
  // Their logarithms, four bits each, the first dtype's last: device code would copy a table to its
  // stack at every call.
  constexpr std::uint64_t kLogarithms = 0x321100321000;
  return std::int64_t{1} << (kLogarithms >> (4 * static_cast<int>(dtype)) & 15);
}

constexpr bool is_float8(DType dtype) {
  return dtype == DType::f8_e4m3fn || dtype == DType::f8_e5m2;
}

constexpr bool is_floating(DType dtype) {
  return is_float8(dtype) || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f32 ||
         dtype == DType::f64;
}

// The name users type: "float32", "bool", ...
constexpr const char* dtype_name(DType dtype) {
  constexpr const char* kNames[kDTypeCount] = {
      "bool",          "uint8",       "int8",    "int16",    "int32",   "int64",
      "float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"};
  return kNames[static_cast<int>(dtype)];
}

constexpr std::optional<DType> dtype_named(std::string_view name) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (name == dtype_name(static_cast<DType>(i))) return static_cast<DType>(i);
  }
  return std::nullopt;
}

}  // namespace weft
