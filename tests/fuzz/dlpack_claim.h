// What a DLPack struct claims, and what is wrong with it: the reference of the fuzz target, in
// 128-bit numbers, which no field overflows.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "core/tensor/dlpack.h"

namespace weft::fuzz {

struct TypeRow {
  dlpack::DataType type;
  DType dtype;
};
inline constexpr std::array<TypeRow, 12> kTypes{{
    {{dlpack::kFloat, 32, 1}, DType::f32},
    {{dlpack::kBool, 8, 1}, DType::bool_},
    {{dlpack::kUInt, 8, 1}, DType::u8},
    {{dlpack::kInt, 8, 1}, DType::i8},
    {{dlpack::kInt, 16, 1}, DType::i16},
    {{dlpack::kInt, 32, 1}, DType::i32},
    {{dlpack::kInt, 64, 1}, DType::i64},
    {{dlpack::kFloat8E4m3fn, 8, 1}, DType::f8_e4m3fn},
    {{dlpack::kFloat8E5m2, 8, 1}, DType::f8_e5m2},
    {{dlpack::kFloat, 16, 1}, DType::f16},
    {{dlpack::kBfloat, 16, 1}, DType::bf16},
    {{dlpack::kFloat, 64, 1}, DType::f64},
}};

inline std::optional<DType> dtype_of(dlpack::DataType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type.code == type.code && row.type.bits == type.bits && row.type.lanes == type.lanes) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

inline bool has_twice(std::vector<std::int64_t> offsets) {
  std::ranges::sort(offsets);
  return std::ranges::adjacent_find(offsets) != offsets.end();
}

inline bool is_row_major(const std::vector<std::int64_t>& offsets) {
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

class Claim {
 public:
  // foreign: of a version that may not be read.
  Claim(const dlpack::View& view, bool foreign) {
    if (foreign) {
      fault(ErrorCode::invalid_argument);
      return;
    }
    dtype_ = dtype_of(view.dtype);
    if (!dtype_) fault(ErrorCode::dtype_mismatch);
    // Of a build without CUDA, or on a machine without GPUs.
    const bool host = view.device_type == dlpack::kCpu || view.device_type == dlpack::kCudaHost;
    if (!host || view.device_id < 0) fault(ErrorCode::invalid_argument);
    if (view.ndim < 0 || view.ndim > kMaxDims || (view.ndim > 0 && !view.shape)) {
      fault(ErrorCode::invalid_argument);
      return;
    }
    read_arrays(view);
    if (!is_faulty()) look_at_span(view);
  }

  bool is_faulty() const { return !faults_.empty(); }
  bool has_fault(ErrorCode code) const { return faults_.contains(code); }

  // The rest is for structs without a fault.
  std::optional<DType> dtype() const { return dtype_; }
  int dims() const { return static_cast<int>(sizes_.size()); }
  std::span<const std::int64_t> sizes() const { return sizes_; }
  std::span<const std::int64_t> strides() const { return strides_; }
  std::int64_t elements() const { return static_cast<std::int64_t>(elements_); }
  std::uintptr_t first() const { return static_cast<std::uintptr_t>(first_); }
  std::uintptr_t begin() const { return static_cast<std::uintptr_t>(begin_); }
  std::uintptr_t bytes() const { return static_cast<std::uintptr_t>(end_ - begin_); }

  // Of each element from the first, in elements, the last index running fastest.
  std::vector<std::int64_t> offsets() const {
    std::vector<std::int64_t> found;
    std::vector<std::int64_t> index(sizes_.size());
    for (std::int64_t i = 0; i < elements(); ++i) {
      std::int64_t offset = 0;
      for (std::size_t d = 0; d < index.size(); ++d) offset += index[d] * strides_[d];
      found.push_back(offset);
      for (std::size_t d = index.size(); d-- > 0;) {
        if (++index[d] < sizes_[d]) break;
        index[d] = 0;
      }
    }
    return found;
  }

 private:
  using Wide = __int128;
  static constexpr Wide kMost = std::numeric_limits<std::int64_t>::max();
  static constexpr Wide kFar = Wide{1} << 100;

  void fault(ErrorCode code) { faults_.insert(code); }

  void read_arrays(const dlpack::View& view) {
    const auto dims = static_cast<std::size_t>(view.ndim);
    sizes_.assign(view.shape, view.shape + dims);
    Wide product = 1;  // of what strides must fit: an empty dimension does not excuse the others
    bool empty = false;
    for (const std::int64_t size : sizes_) {
      if (size < 0) fault(ErrorCode::invalid_argument);
      empty = empty || size == 0;
      product = std::min(product * std::max<std::int64_t>(size, 1), kMost + 1);
    }
    if (product > kMost) fault(ErrorCode::size_overflow);
    elements_ = empty ? 0 : product;
    if (view.strides) {
      strides_.assign(view.strides, view.strides + dims);
      return;
    }
    strides_.resize(dims);
    Wide stride = 1;
    for (std::size_t d = dims; d-- > 0;) {
      strides_[d] = static_cast<std::int64_t>(stride);
      stride = std::min(stride * std::max<std::int64_t>(sizes_[d], 1), kMost);
    }
  }

  void look_at_span(const dlpack::View& view) {
    if (elements_ == 0) return;
    Wide low = 0;
    Wide high = 1;
    for (std::size_t d = 0; d < sizes_.size(); ++d) {
      // Far is beyond any address, and the sum of all dimensions still fits.
      const Wide reach = std::clamp((Wide{sizes_[d]} - 1) * strides_[d], -kFar, kFar);
      (reach < 0 ? low : high) += reach;
    }
    if (high - low > kMost) fault(ErrorCode::size_overflow);
    if (!view.data) {
      fault(ErrorCode::invalid_argument);
      return;
    }
    const Wide item = item_bytes(*dtype_);
    first_ = Wide{reinterpret_cast<std::uintptr_t>(view.data)} + view.byte_offset;
    begin_ = first_ + low * item;
    end_ = first_ + high * item;
    const Wide space = Wide{1} << 64;
    // Nothing is at the null address.
    if (begin_ <= 0 || end_ >= space || end_ - begin_ > kMost) fault(ErrorCode::size_overflow);
    if (first_ % item != 0) fault(ErrorCode::invalid_argument);
  }

  std::set<ErrorCode> faults_;
  std::optional<DType> dtype_;
  std::vector<std::int64_t> sizes_;
  std::vector<std::int64_t> strides_;
  Wide elements_ = 0;
  Wide first_ = 0;
  Wide begin_ = 0;
  Wide end_ = 0;
};

}  // namespace weft::fuzz
