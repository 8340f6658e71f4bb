// Functions that make tensors.
#include <nanobind/stl/optional.h>

#include <cstring>

#include "core/base/error.h"
#include "core/tensor/dlpack.h"
#include "python/bind/tensor_ops.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

using Numbers = std::vector<std::int64_t>;

DType dtype_or(nb::handle dtype, DType fallback) {
  return dtype.is_none() ? fallback : parse_dtype(dtype);
}

std::optional<DType> optional_dtype(nb::handle dtype) {
  if (dtype.is_none()) return std::nullopt;
  return parse_dtype(dtype);
}

Tensor zeros(std::span<const std::int64_t> sizes, DType dtype, DeviceId device) {
  const bool on_cuda = device.kind == DeviceKind::cuda;
  const Tensor host = Tensor::empty(sizes, dtype, on_cuda ? DeviceId{} : device);
  if (host.bytes().value() > 0) {
    without_gil(host.bytes(), [&] {
      std::memset(host.data(), 0, static_cast<std::size_t>(host.bytes().value()));
    });
  }
  return move_to(host, device);
}

Tensor filled(std::span<const std::int64_t> sizes, nb::handle value, DType dtype, DeviceId device) {
  const Tensor tensor = Tensor::empty(sizes, dtype, device);
  fill(tensor, value);
  return tensor;
}

Tensor full(nb::handle size, nb::handle value, nb::handle dtype, nb::handle device) {
  const Numbers sizes = parse_sizes(size);
  DType type = DType::f32;
  if (!dtype.is_none()) {
    type = parse_dtype(dtype);
  } else {
    type = tensor_from_data(value, std::nullopt, DeviceId{}).dtype();
  }
  return filled(sizes, value, type, parse_device(device));
}

bool is_integer(nb::handle value) { return value.is_none() || PyIndex_Check(value.ptr()); }

Tensor arange(nb::handle start, nb::handle end, nb::handle step, nb::handle dtype,
              nb::handle device) {
  const bool integers = is_integer(start) && is_integer(end) && is_integer(step);
  const DType type = dtype_or(dtype, integers ? DType::i64 : DType::f32);
  const nb::object first = end.is_none() ? nb::object(nb::int_(0)) : nb::borrow(start);
  const nb::object last = nb::borrow(end.is_none() ? start : end);
  const DeviceId where = parse_device(device);
  for (const nb::handle number : {nb::handle(first), nb::handle(last), step}) {
    if (PyIndex_Check(number.ptr())) parse_integer(number, "arange:");  // NumPy's would wrap
  }
  try {
    const nb::object array = nb::module_::import_("numpy").attr("arange")(
        first, last, step, integers ? "int64" : "float64");
    return tensor_from_array(array, type, where, true);
  } catch (nb::python_error& error) {
    if (error.matches(PyExc_MemoryError)) {
      fail(ErrorCode::out_of_memory, "arange: ", text_of(error.value()));
    }
    if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_ArithmeticError) &&
        !error.matches(PyExc_TypeError)) {
      throw;
    }
    fail(ErrorCode::invalid_argument, "arange: ", text_of(error.value()));
  }
}

// NumPy lends by DLPack, so that the tensor holds no Python object; bool and the types of
// ml_dtypes, which not every NumPy lends, travel as integers of their size.
Tensor from_numpy(nb::handle array) {
  if (!is_numpy_array(array)) {
    fail(ErrorCode::invalid_argument, "from_numpy takes a NumPy array, not ", name_of_type(array));
  }
  const Tensor checked = import_tensor(array, -1);
  nb::object lent = nb::borrow(array);
  if (checked.dtype() == DType::bool_) lent = array.attr("view")("uint8");
  if (needs_ml_dtypes(checked.dtype())) {
    lent = array.attr("view")(is_float8(checked.dtype()) ? "int8" : "int16");
  }
  try {
    const Tensor owned = import_dlpack(lent, -1);
    return Tensor(owned.storage(), checked.dtype(), owned.layout(), owned.offset());
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_BufferError)) throw;
    fail(checked.read_only() ? ErrorCode::read_only_buffer : ErrorCode::invalid_argument,
         "NumPy does not lend this array: ", text_of(error.value()));
  }
}

Tensor from_dlpack(nb::handle object, nb::handle device, std::optional<bool> copy) {
  const Tensor tensor =
      nb::isinstance<Tensor>(object) ? import_tensor(object, 0) : import_dlpack(object, 0);
  const DeviceId where = device.is_none() ? tensor.device() : parse_device(device);
  if (copy.value_or(false)) return clone_to(tensor, where);
  if (copy && !(where == tensor.device())) {
    fail(ErrorCode::invalid_argument, "a tensor on ", tensor.device().str(), " cannot be had on ",
         where.str(), " without a copy");
  }
  return move_to(tensor, where);
}

const Tensor& tensor_argument(nb::handle input, const char* function) {
  if (nb::isinstance<Tensor>(input)) return nb::cast<const Tensor&>(input);
  fail(ErrorCode::invalid_argument, function, " takes a weft.Tensor, not ", name_of_type(input));
}

DeviceId device_like(const Tensor& tensor, nb::handle device) {
  return device.is_none() ? tensor.device() : parse_device(device);
}

void bind_filled(nb::module_& module) {
  module.def(
      "zeros",
      [](const nb::args& size, nb::handle dtype, nb::handle device) {
        return zeros(parse_size_arguments(size), dtype_or(dtype, DType::f32), parse_device(device));
      },
      "size"_a, nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def zeros(*size: int | collections.abc.Sequence[int], dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A tensor of zeros. Shape: `zeros(2, 3)` or `zeros((2, 3))`; dtype: float32 unless given;\n"
      "device: \"cpu\" unless given. Blocks until the memory is set.\n\n"
      "Raises InvalidArgument, SizeOverflow, DTypeMismatch, OutOfMemory.\n\n"
      ">>> weft.zeros(2, device=\"sim:1\")\n"
      "tensor([0., 0.], dtype=float32, device='sim:1')\n");
  module.def(
      "ones",
      [](const nb::args& size, nb::handle dtype, nb::handle device) {
        return filled(parse_size_arguments(size), nb::int_(1), dtype_or(dtype, DType::f32),
                      parse_device(device));
      },
      "size"_a, nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def ones(*size: int | collections.abc.Sequence[int], dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A tensor of ones; see `zeros`.\n\n"
      ">>> weft.ones((2, 2), dtype=weft.int64).tolist()\n"
      "[[1, 1], [1, 1]]\n");
  module.def(
      "empty",
      [](const nb::args& size, nb::handle dtype, nb::handle device) {
        return Tensor::empty(parse_size_arguments(size), dtype_or(dtype, DType::f32),
                             parse_device(device));
      },
      "size"_a, nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def empty(*size: int | collections.abc.Sequence[int], dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A tensor whose elements are not set; see `zeros`.\n\n"
      ">>> weft.empty(2, 3).shape\n"
      "(2, 3)\n");
  module.def(
      "full", full, "size"_a.none(), "fill_value"_a.none(), nb::kw_only(), "dtype"_a = nb::none(),
      "device"_a = nb::none(),
      nb::sig("def full(size: int | collections.abc.Sequence[int], fill_value: object, *, "
              "dtype: DType | str | type | numpy.dtype[typing.Any] | None = None, device: Device | "
              "str | None = None) -> Tensor"),
      "A tensor of one value. dtype: that of the value (bool, int64 or float32) unless given.\n"
      "Raises InvalidArgument where an integer dtype does not hold the value; see `zeros`.\n\n"
      ">>> weft.full((2,), 7)\n"
      "tensor([7, 7], dtype=int64, device='cpu')\n");
}

void bind_like(nb::module_& module) {
  module.def(
      "zeros_like",
      [](nb::handle input, nb::handle dtype, nb::handle device) {
        const Tensor& like = tensor_argument(input, "zeros_like");
        return zeros(like.layout().sizes(), dtype_or(dtype, like.dtype()),
                     device_like(like, device));
      },
      "input"_a.none(), nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def zeros_like(input: Tensor, *, dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "Zeros of the shape and, unless given, the dtype and device of a tensor.\n\n"
      ">>> weft.zeros_like(weft.ones(2, device=\"sim:0\"))\n"
      "tensor([0., 0.], dtype=float32, device='sim:0')\n");
  module.def(
      "ones_like",
      [](nb::handle input, nb::handle dtype, nb::handle device) {
        const Tensor& like = tensor_argument(input, "ones_like");
        return filled(like.layout().sizes(), nb::int_(1), dtype_or(dtype, like.dtype()),
                      device_like(like, device));
      },
      "input"_a.none(), nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def ones_like(input: Tensor, *, dtype: DType | str | type | numpy.dtype[typing.Any] "
              "| None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "Ones of the shape and, unless given, the dtype and device of a tensor.\n\n"
      ">>> weft.ones_like(weft.zeros(2, dtype=weft.bool)).tolist()\n"
      "[True, True]\n");
  module.def(
      "empty_like",
      [](nb::handle input, nb::handle dtype, nb::handle device) {
        const Tensor& like = tensor_argument(input, "empty_like");
        return Tensor::empty(like.layout().sizes(), dtype_or(dtype, like.dtype()),
                             device_like(like, device));
      },
      "input"_a.none(), nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def empty_like(input: Tensor, *, dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A tensor like another, its elements not set.\n\n"
      ">>> weft.empty_like(weft.zeros(3), device=\"sim:2\").device\n"
      "Device('sim:2')\n");
  module.def(
      "full_like",
      [](nb::handle input, nb::handle value, nb::handle dtype, nb::handle device) {
        const Tensor& like = tensor_argument(input, "full_like");
        return filled(like.layout().sizes(), value, dtype_or(dtype, like.dtype()),
                      device_like(like, device));
      },
      "input"_a.none(), "fill_value"_a.none(), nb::kw_only(), "dtype"_a = nb::none(),
      "device"_a = nb::none(),
      nb::sig("def full_like(input: Tensor, fill_value: object, *, dtype: DType | str | type | "
              "numpy.dtype[typing.Any] | None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A tensor like another, of one value.\n\n"
      ">>> weft.full_like(weft.zeros(2), 1.5).tolist()\n"
      "[1.5, 1.5]\n");
}

void bind_imports(nb::module_& module) {
  module.def(
      "tensor",
      [](nb::handle data, nb::handle dtype, nb::handle device) {
        return tensor_from_data(data, optional_dtype(dtype), parse_device(device));
      },
      "data"_a.none(), nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
      nb::sig("def tensor(data: object, *, dtype: DType | str | type | numpy.dtype[typing.Any] | "
              "None = None, "
              "device: Device | str | None = None) -> Tensor"),
      "A new tensor with the numbers of nested sequences, an array or a tensor; always a copy.\n"
      "dtype: that of an array; bool, int64 or float32 for Python numbers, unless given.\n\n"
      "Raises InvalidArgument for ragged sequences and values an integer dtype does not hold,\n"
      "DTypeMismatch for elements that are no real numbers.\n\n"
      ">>> weft.tensor([[1, 2], [3, 4]], dtype=weft.float64, device=\"sim:0\")[1].tolist()\n"
      "[3.0, 4.0]\n");
  module.def("arange", arange, "start"_a.none(), "end"_a = nb::none(), "step"_a.none() = 1,
             nb::kw_only(), "dtype"_a = nb::none(), "device"_a = nb::none(),
             nb::sig("def arange(start: float, end: float | None = None, step: float = 1, *, "
                     "dtype: DType | str | type | numpy.dtype[typing.Any] | None = None, device: "
                     "Device | str | None = None) -> Tensor"),
             "start, start + step, ... below end; `arange(n)` is 0 to n - 1. dtype: int64 for\n"
             "integers, else float32, unless given. Raises InvalidArgument.\n\n"
             ">>> weft.arange(1, 7, 2)\n"
             "tensor([1, 3, 5], dtype=int64, device='cpu')\n");
  module.def(
      "from_numpy", from_numpy, "array"_a.none(),
      nb::sig("def from_numpy(array: object) -> Tensor"),
      "The array's memory as a tensor on \"cpu\": no copy, read-only if the array is. The\n"
      "memory lives as long as either does. bfloat16 and float8 are those of\n"
      "ml_dtypes.\n\n"
      "Raises DTypeMismatch for dtypes weft has not, InvalidArgument for foreign strides.\n\n"
      ">>> import numpy\n"
      ">>> array = numpy.zeros(2)\n"
      ">>> _ = weft.from_numpy(array).fill_(3)\n"
      ">>> array\n"
      "array([3., 3.])\n");
  module.def(
      "from_dlpack", from_dlpack, "object"_a.none(), nb::kw_only(), "device"_a = nb::none(),
      "copy"_a = nb::none(),
      nb::sig("def from_dlpack(object: object, *, device: Device | str | None = None, "
              "copy: bool | None = None) -> Tensor"),
      "The memory of any object with `__dlpack__` (torch, cupy, JAX, NumPy) or of a DLPack\n"
      "capsule as a tensor: no copy, unless `device` is another one or `copy` is true. CUDA\n"
      "memory is made ready for the default stream.\n\n"
      "Raises DTypeMismatch for elements weft has not (complex, fp8), InvalidArgument and\n"
      "SizeOverflow for what the producer got wrong, and whatever the producer raises.\n\n"
      ">>> import numpy\n"
      ">>> weft.from_dlpack(numpy.arange(3.0)).tolist()\n"
      "[0.0, 1.0, 2.0]\n");
}

}  // namespace

void bind_factories(nb::module_& module) {
  bind_filled(module);
  bind_like(module);
  bind_imports(module);
}

}  // namespace weft::python
