#include "core/tensor/tensor.h"

#include "core/base/error.h"

namespace weft {

Tensor::Tensor(std::shared_ptr<Storage> storage, DType dtype, Layout layout, std::int64_t offset)
    : storage_(std::move(storage)), dtype_(dtype), layout_(std::move(layout)), offset_(offset) {
  if (!storage_) fail(ErrorCode::invalid_argument, "a tensor needs a storage");
  if (layout_.elements() == 0) {
    offset_ = 0;  // an empty view names no address, so that its data() is the storage's, even null
    return;
  }
  const Layout::Extent extent = layout_.extent();
  std::int64_t low = 0;
  std::int64_t high = 0;
  if (__builtin_add_overflow(offset, extent.low, &low) ||
      __builtin_add_overflow(offset, extent.high, &high) ||
      __builtin_mul_overflow(high, item_bytes(dtype), &high) || low < 0 ||
      high > storage_->bytes().value()) {
    fail(ErrorCode::invalid_argument, "a ", dtype_name(dtype), " view of shape ", layout_.str(),
         " at offset ", offset, " leaves its storage of ", storage_->bytes(), " bytes");
  }
}

Tensor Tensor::empty(std::span<const std::int64_t> sizes, DType dtype, DeviceId device) {
  Layout layout = Layout::contiguous(sizes);
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(layout.elements(), item_bytes(dtype), &bytes)) {
    fail(ErrorCode::size_overflow, "shape ", layout.str(), " of ", dtype_name(dtype),
         " has more than 2^63 - 1 bytes");
  }
  return Tensor(Storage::allocate(device, Bytes(bytes)), dtype, std::move(layout));
}

std::span<std::byte> Tensor::touched() const {
  const Layout::Extent extent = layout_.extent();
  const std::int64_t item = item_bytes(dtype_);
  return {static_cast<std::byte*>(data()) + extent.low * item,
          static_cast<std::size_t>((extent.high - extent.low) * item)};
}

}  // namespace weft
