// Copies between layouts, dtypes left alone, and between devices.
#pragma once

#include "core/device/device.h"
#include "core/tensor/tensor.h"

namespace weft {

// Copies every element of `from` to `to`: same sizes, same dtype, any strides, any devices (cpu,
// sim, cuda). Blocks until the elements are there. Throws ShapeMismatch, DTypeMismatch,
// ReadOnlyBuffer, AliasError for partial overlap, before anything is written.
void copy_tensor(const Tensor& to, const Tensor& from);

// The same for memory this thread can reach, without checks: one strided view to another.
void strided_copy_host(void* to, const Layout& to_layout, const void* from,
                       const Layout& from_layout, std::int64_t item_bytes);

}  // namespace weft
