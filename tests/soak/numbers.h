// Small integers as elements of any dtype, so that results are known to the bit.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/tensor/dtype.h"
#include "core/tensor/narrow_float.h"

namespace weft::testing {

class Numbers {
 public:
  static constexpr int kCount = 257;  // 0 to 256

  explicit Numbers(DType dtype) : dtype_(dtype) {
    for (int value = 0; value < kCount; ++value) {
      bits_[static_cast<std::size_t>(value)] = encode(value);
    }
  }

  DType dtype() const { return dtype_; }
  // The greatest integer up to which every one has a representation.
  int exact_to() const {
    switch (dtype_) {
      case DType::bool_:
        return 1;
      case DType::f8_e5m2:
        return 8;
      case DType::f8_e4m3fn:
        return 16;
      case DType::i8:
        return 127;
      case DType::u8:
        return 255;
      default:
        return kCount - 1;
    }
  }
  // Its bytes, from the lowest address on; integers wrap.
  std::uint64_t bits(int value) const { return bits_[static_cast<std::size_t>(value)]; }

 private:
  template <class T>
  static std::uint64_t bits_of(T value) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  }

  std::uint64_t encode(int value) const {
    switch (dtype_) {
      case DType::bool_:
        return value != 0;
      case DType::u8:
      case DType::i8:
        return bits_of(static_cast<std::uint8_t>(value));
      case DType::i16:
        return bits_of(static_cast<std::int16_t>(value));
      case DType::i32:
        return bits_of(static_cast<std::int32_t>(value));
      case DType::i64:
        return bits_of(static_cast<std::int64_t>(value));
      case DType::f8_e4m3fn:
        return to_float8_e4m3(static_cast<float>(value)).bits;
      case DType::f8_e5m2:
        return to_float8_e5m2(static_cast<float>(value)).bits;
      case DType::f16:
        return to_half(static_cast<float>(value)).bits;
      case DType::bf16:
        return to_bfloat16(static_cast<float>(value)).bits;
      case DType::f32:
        return bits_of(static_cast<float>(value));
      case DType::f64:
        return bits_of(static_cast<double>(value));
    }
    return 0;
  }

  DType dtype_;
  std::array<std::uint64_t, kCount> bits_{};
};

// The numbers of each dtype, made once.
inline const Numbers& numbers_of(DType dtype) {
  static const auto* const all = new std::array<Numbers, kDTypeCount>{
      Numbers(DType::bool_),     Numbers(DType::u8),      Numbers(DType::i8),
      Numbers(DType::i16),       Numbers(DType::i32),     Numbers(DType::i64),
      Numbers(DType::f8_e4m3fn), Numbers(DType::f8_e5m2), Numbers(DType::f16),
      Numbers(DType::bf16),      Numbers(DType::f32),     Numbers(DType::f64)};
  return (*all)[static_cast<std::size_t>(dtype)];
}

}  // namespace weft::testing
