// What the binding of Tensor is made of: NumPy views, casts, moves, views by index, new tensors.
//
// Invariants
//   1. A tensor made here owns its memory; only host_array and views share it.
//   2. Every write goes through copy_tensor, so that it is checked and counted in the storage's
//   version.
//
// Thread safety: the GIL is held by every caller; copies over 64 KiB release it.
#pragma once

#include <optional>
#include <vector>

#include "core/device/device.h"
#include "core/tensor/tensor.h"
#include "python/bind/convert.h"

namespace weft::python {

// The tensor that a NumPy array made by host_array lives on: its base object.
struct HostView {
  Tensor tensor;
};

// copy_tensor with the GIL released where it pays.
void copy_elements(const Tensor& to, const Tensor& from);
// A contiguous copy, on that device.
Tensor clone_to(const Tensor& tensor, DeviceId device);
// The tensor itself where it is there already.
Tensor move_to(const Tensor& tensor, DeviceId device);
Tensor contiguous(const Tensor& tensor);
// A view where the elements are in order, else a copy. One size may be -1.
Tensor reshape(const Tensor& tensor, std::vector<std::int64_t> sizes);
Tensor index_view(const Tensor& tensor, nb::handle key);

// A NumPy array over the tensor's memory, read-only where the tensor is; through a host copy for
// CUDA. Throws InvalidArgument for elements that need ml_dtypes where that is missing.
nb::object host_array(const Tensor& tensor);
// The same for printing and for Python numbers: what needs ml_dtypes becomes float32, without it.
nb::object readable_array(const Tensor& tensor);
// A new tensor from a NumPy array of any numeric dtype. Throws DTypeMismatch. Strict:
// InvalidArgument for values that an integer dtype does not hold; else they wrap as NumPy's astype
// does.
Tensor tensor_from_array(nb::handle array, DType dtype, DeviceId device, bool strict);
// A number, or nested sequences of them. Without a dtype: bool, int64 or float32.
Tensor tensor_from_data(nb::handle data, std::optional<DType> dtype, DeviceId device);
Tensor cast(const Tensor& tensor, DType dtype);
void fill(const Tensor& tensor, nb::handle value);

// The parts of the module that bind_tensor is made of.
void bind_dtype(nb::module_& module);
void bind_device(nb::module_& module);
void bind_factories(nb::module_& module);
void bind_object_protocols(nb::class_<Tensor>& tensor);

}  // namespace weft::python
