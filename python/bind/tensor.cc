// The class Tensor of the extension module.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <string>

#include "core/base/error.h"
#include "core/tensor/dlpack.h"
#include "python/bind/stream.h"
#include "python/bind/tensor_ops.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

using TensorClass = nb::class_<Tensor>;

std::string repr(const Tensor& tensor) {
  const nb::object text = nb::module_::import_("numpy").attr("array2string")(
      readable_array(tensor), "separator"_a = ", ", "prefix"_a = "tensor(");
  const bool show_shape = tensor.layout().elements() == 0 && tensor.layout().dims() > 1;
  return concat("tensor(", text_of(text), show_shape ? ", shape=" + tensor.layout().str() : "",
                ", dtype=", dtype_name(tensor.dtype()), ", device='", tensor.device().str(), "')");
}

nb::object item(const Tensor& tensor) {
  if (tensor.layout().elements() != 1) {
    fail(ErrorCode::invalid_argument, "only a tensor of one element is a number, not one of shape ",
         tensor.layout().str());
  }
  return readable_array(tensor).attr("item")();
}

// What to() is given first may be a dtype or a device, as in PyTorch.
Tensor to(const Tensor& tensor, nb::handle target, nb::handle dtype, nb::handle device) {
  std::optional<DType> new_dtype;
  DeviceId new_device = tensor.device();
  if (!target.is_none()) {
    const bool is_text = nb::isinstance<nb::str>(target);
    if (is_text) new_dtype = dtype_named(nb::cast<std::string>(target));
    if (nb::isinstance<DeviceId>(target) || (is_text && !new_dtype)) {
      new_device = parse_device(target);
    } else if (!is_text) {
      new_dtype = parse_dtype(target);
    }
  }
  if (!dtype.is_none()) new_dtype = parse_dtype(dtype);
  if (!device.is_none()) new_device = parse_device(device);
  return move_to(new_dtype ? cast(tensor, *new_dtype) : tensor, new_device);
}

// Does `stream` say that no ordering is needed: nothing, -1, or CUDA's default stream, where works
// go that were given none?
bool needs_no_ordering(nb::handle stream, bool on_cuda) {
  if (stream.is_none()) return true;
  if (!PyLong_Check(stream.ptr()) || nb::isinstance<nb::bool_>(stream)) return false;
  int overflow = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(stream.ptr(), &overflow);
  if (overflow == 0 && (value == -1 || (on_cuda && value == 1))) return true;
  if (on_cuda && overflow == 0 && value > 0) return false;
  fail(ErrorCode::invalid_argument, "stream ", repr_of(stream), " is not one of ",
       on_cuda ? "CUDA: None, -1, 1, 2 or a stream's address (0 is not allowed)"
               : "host memory: None or -1");
}

// What comes next on the consumer's stream follows the default stream, unless it is being captured
// into a graph: nothing from outside is ordered into that.
void order_for_consumer(const Tensor& tensor, nb::handle stream) {
  const bool on_cuda = tensor.device().kind == DeviceKind::cuda;
  if (needs_no_ordering(stream, on_cuda)) return;
  if (!on_cuda) {
    fail(ErrorCode::invalid_argument, "stream ", repr_of(stream), " is not one of host memory, ",
         "which simulated memory is exported as: None or -1");
  }
  const Stream consumer = parse_stream(stream, tensor.device());
  if (device(tensor.device()).is_capturing(consumer)) return;
  order_after({tensor.device(), consumer}, {tensor.device(), {}});
}

// Does the consumer read the versioned struct? It says so with max_version=(1, ...) or later.
bool wants_versioned(nb::handle max_version) {
  if (max_version.is_none()) return false;
  if (!nb::isinstance<nb::tuple>(max_version) || nb::len(max_version) != 2 ||
      !PyLong_Check(nb::object(max_version[0]).ptr())) {
    fail(ErrorCode::invalid_argument, "max_version is a tuple (major, minor), not ",
         repr_of(max_version));
  }
  return nb::object(max_version[0]) >= nb::int_(1);
}

nb::object dlpack_export(const Tensor& tensor, nb::handle stream, nb::handle max_version,
                         nb::handle dl_device, std::optional<bool> copy) {
  order_for_consumer(tensor, stream);
  const bool versioned = wants_versioned(max_version);
  const auto own = dlpack::dlpack_device(tensor);
  bool move = false;
  if (!dl_device.is_none()) {
    const nb::object here = nb::make_tuple(own.first, own.second);
    move = !here.equal(dl_device);
    // The array API asks for BufferError where an export cannot be done as wanted.
    if (move && !nb::make_tuple(dlpack::kCpu, 0).equal(dl_device)) {
      throw nb::buffer_error("a tensor is exported on its own device or to the host, (1, 0)");
    }
  }
  if (move && copy && !*copy) {
    throw nb::buffer_error("a tensor on another device is exported to the host only by a copy");
  }
  if (!move && !copy.value_or(false)) return export_dlpack(tensor, versioned, false);
  return export_dlpack(clone_to(tensor, move ? DeviceId{} : tensor.device()), versioned, true);
}

nb::object numpy_dtype(nb::handle dtype) {
  try {
    return nb::module_::import_("numpy").attr("dtype")(dtype);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    fail(ErrorCode::dtype_mismatch, repr_of(dtype), " is not a dtype of NumPy");
  }
}

nb::object numpy_protocol(const Tensor& tensor, nb::handle dtype, std::optional<bool> copy) {
  if (copy && !*copy && tensor.device().kind == DeviceKind::cuda) {
    fail(ErrorCode::invalid_argument, "CUDA memory is a NumPy array only by a copy");
  }
  const nb::object array = host_array(tensor);
  const nb::object wanted = dtype.is_none() ? nb::none() : numpy_dtype(dtype);
  if (!wanted.is_none() && !array.attr("dtype").equal(wanted)) {
    if (copy && !*copy) {
      fail(ErrorCode::invalid_argument, "another dtype needs a copy");
    }
    return array.attr("astype")(wanted);
  }
  return copy.value_or(false) ? array.attr("copy")() : array;
}

void copy_into(const Tensor& tensor, nb::handle other) {
  const bool is_array =
      nb::isinstance<Tensor>(other) || is_numpy_array(other) || nb::hasattr(other, "__dlpack__");
  if (!is_array) return fill(tensor, other);
  copy_elements(tensor, import_tensor(other, 0));
}

void bind_facts(TensorClass& tensor) {
  tensor
      .def_prop_ro(
          "shape", [](const Tensor& t) { return numbers_tuple(t.layout().sizes()); },
          nb::sig("def shape(self) -> tuple[int, ...]"), "Sizes of the dimensions.")
      .def_prop_ro(
          "strides", [](const Tensor& t) { return numbers_tuple(t.layout().strides()); },
          nb::sig("def strides(self) -> tuple[int, ...]"),
          "From one index to the next in each dimension, in elements.")
      .def_prop_ro(
          "dtype", [](const Tensor& t) { return dtype_object(t.dtype()); },
          nb::sig("def dtype(self) -> DType"), "Type of the elements.")
      .def_prop_ro(
          "device", [](const Tensor& t) { return t.device(); },
          nb::sig("def device(self) -> Device"), "Where the memory is.")
      .def_prop_ro(
          "ndim", [](const Tensor& t) { return t.layout().dims(); },
          "Number of dimensions, 0 to 64.")
      .def_prop_ro(
          "size", [](const Tensor& t) { return t.layout().elements(); }, "Number of elements.")
      .def_prop_ro(
          "itemsize", [](const Tensor& t) { return item_bytes(t.dtype()); },
          "Bytes of one element.")
      .def_prop_ro(
          "nbytes", [](const Tensor& t) { return t.bytes().value(); }, "Bytes of all elements.")
      .def_prop_ro(
          "read_only", [](const Tensor& t) { return t.read_only(); },
          "May nobody write this memory through weft?")
      .def(
          "data_ptr", [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.data()); },
          "Address of the first element.")
      .def(
          "is_contiguous", [](const Tensor& t) { return t.layout().is_contiguous(); },
          "Are the elements in row-major order without gaps?");
}

void bind_conversions(TensorClass& tensor) {
  tensor
      .def("numpy", host_array, nb::sig("def numpy(self) -> numpy.typing.NDArray[typing.Any]"),
           "A NumPy array: the same memory on \"cpu\" and simulated devices (read-only if the\n"
           "tensor is), a copy of a CUDA tensor, for which it blocks. bfloat16 and float8\n"
           "need ml_dtypes.\n\n"
           ">>> t = weft.zeros(2, device=\"sim:0\")\n"
           ">>> t.numpy()[0] = 5\n"
           ">>> t\n"
           "tensor([5., 0.], dtype=float32, device='sim:0')\n")
      .def("to", to, "target"_a = nb::none(), nb::kw_only(), "dtype"_a = nb::none(),
           "device"_a = nb::none(),
           nb::sig("def to(self, target: DType | Device | str | type | numpy.dtype[typing.Any] | "
                   "None = None, *, "
                   "dtype: DType | str | type | numpy.dtype[typing.Any] | None = None, device: "
                   "Device | str | None = None) -> Tensor"),
           "The tensor with another dtype or on another device; itself if it is so already.\n"
           "Blocks. Integers wrap, as in NumPy's astype.\n\n"
           ">>> weft.arange(2).to(\"sim:3\").to(weft.float64)\n"
           "tensor([0., 1.], dtype=float64, device='sim:3')\n")
      .def("item", item, nb::sig("def item(self) -> bool | int | float"),
           "The number in a tensor of one element. Blocks for CUDA. Raises InvalidArgument.\n\n"
           ">>> weft.full((1, 1), 2.5).item()\n"
           "2.5\n")
      .def(
          "tolist", [](const Tensor& t) { return readable_array(t).attr("tolist")(); },
          nb::sig("def tolist(self) -> typing.Any"),
          "Nested lists of Python numbers; a number for 0 dimensions. Blocks for CUDA.\n\n"
          ">>> weft.ones(1, 2).tolist()\n"
          "[[1.0, 1.0]]\n")
      .def("__bool__", [](const Tensor& t) { return nb::cast<bool>(nb::bool_(item(t))); })
      .def("__int__", [](const Tensor& t) { return nb::int_(item(t)); })
      .def("__float__", [](const Tensor& t) { return nb::float_(item(t)); })
      .def("__repr__", repr);
}

void bind_protocols(TensorClass& tensor) {
  tensor
      .def("__array__", numpy_protocol, "dtype"_a = nb::none(), "copy"_a = nb::none(),
           nb::sig("def __array__(self, dtype: typing.Any = None, copy: bool | None = None) -> "
                   "numpy.typing.NDArray[typing.Any]"))
      .def("__dlpack__", dlpack_export, nb::kw_only(), "stream"_a = nb::none(),
           "max_version"_a = nb::none(), "dl_device"_a = nb::none(), "copy"_a = nb::none(),
           nb::sig(
               "def __dlpack__(self, *, stream: object = None, "
               "max_version: tuple[int, int] | None = None, "
               "dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> typing.Any"),
           "A DLPack capsule over the same memory, or over a copy. Simulated memory is CPU.\n\n"
           "stream: None or -1; for CUDA also 1, 2, a stream's address or what weft.Stream\n"
           "takes for one: what comes next on it follows the default stream, and so what was\n"
           "given no stream. Raises InvalidArgument for another one, DeviceMismatch,\n"
           "ReadOnlyBuffer for a read-only tensor and a consumer from before DLPack 1.0,\n"
           "BufferError where dl_device and copy ask for what cannot be.\n\n"
           ">>> import numpy\n"
           ">>> numpy.from_dlpack(weft.arange(3))\n"
           "array([0, 1, 2])\n")
      .def(
          "__dlpack_device__",
          [](const Tensor& t) {
            const auto [type, id] = dlpack::dlpack_device(t);
            return nb::make_tuple(type, id);
          },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"),
          "(DLPack device type, index): (1, 0) for the host and simulated devices.");
}

void bind_views(TensorClass& tensor) {
  tensor
      .def(
          "reshape",
          [](const Tensor& t, const nb::args& size) {
            return reshape(t, parse_size_arguments(size));
          },
          "size"_a,
          nb::sig("def reshape(self, *size: int | collections.abc.Sequence[int]) -> Tensor"),
          "The elements in another shape: a view of a contiguous tensor, else a copy. One size\n"
          "may be -1. Raises ShapeMismatch where the counts differ.\n\n"
          ">>> weft.arange(6).reshape(2, -1).shape\n"
          "(2, 3)\n")
      .def("contiguous", contiguous, "The tensor if it is contiguous, else a contiguous copy.")
      .def(
          "clone", [](const Tensor& t) { return clone_to(t, t.device()); },
          "A contiguous copy on the same device.")
      .def("__getitem__", index_view, "index"_a.none(),
           nb::sig("def __getitem__(self, index: typing.Any) -> Tensor"),
           "A view. The index is made of integers, slices (steps of any sign), None and `...`.\n"
           "Raises IndexError outside the shape.\n\n"
           ">>> weft.arange(6).reshape(2, 3)[1, ::-2].tolist()\n"
           "[5, 3]\n")
      .def("__len__", [](const Tensor& t) {
        if (t.layout().dims() == 0) {
          throw nb::type_error("a tensor of 0 dimensions has no length");
        }
        return t.layout().sizes()[0];
      });
}

void bind_writes(TensorClass& tensor) {
  tensor
      .def(
          "copy_",
          [](nb::handle self, nb::handle other) {
            copy_into(nb::cast<const Tensor&>(self), other);
            return nb::borrow(self);
          },
          "other"_a.none(), nb::sig("def copy_(self, other: object) -> Tensor"),
          "Writes the elements of a tensor or array of the same shape and dtype, on any device,\n"
          "or one number. Blocks. Returns the tensor.\n\n"
          "Raises ShapeMismatch, DTypeMismatch, ReadOnlyBuffer, AliasError, before it writes.\n\n"
          ">>> weft.zeros(2, device=\"sim:0\").copy_(weft.ones(2, device=\"sim:1\")).tolist()\n"
          "[1.0, 1.0]\n")
      .def(
          "fill_",
          [](nb::handle self, nb::handle value) {
            fill(nb::cast<const Tensor&>(self), value);
            return nb::borrow(self);
          },
          "value"_a.none(), nb::sig("def fill_(self, value: object) -> Tensor"),
          "Writes one number to every element. Returns the tensor. Raises InvalidArgument where\n"
          "an integer dtype does not hold it, ReadOnlyBuffer, AliasError.\n\n"
          ">>> weft.empty(2).fill_(4).tolist()\n"
          "[4.0, 4.0]\n")
      .def(
          "__setitem__",
          [](const Tensor& t, nb::handle index, nb::handle value) {
            copy_into(index_view(t, index), value);
          },
          "index"_a.none(), "value"_a.none(),
          nb::sig("def __setitem__(self, index: typing.Any, value: object) -> None"));
}

nb::dict array_interface(const HostView& view) {
  const Tensor& tensor = view.tensor;
  const std::int64_t bytes = item_bytes(tensor.dtype());
  const bool is_bool = tensor.dtype() == DType::bool_;
  const bool is_byte = tensor.dtype() == DType::u8;
  const char* kind = is_bool ? "b" : is_byte ? "u" : "i";
  if (is_floating(tensor.dtype())) kind = needs_ml_dtypes(tensor.dtype()) ? "V" : "f";
  std::vector<std::int64_t> strides;
  for (std::int64_t stride : tensor.layout().strides()) strides.push_back(stride * bytes);
  nb::dict facts;
  facts["version"] = 3;
  facts["shape"] = numbers_tuple(tensor.layout().sizes());
  facts["typestr"] = concat(bytes == 1 ? "|" : "<", kind, bytes);
  facts["data"] =
      nb::make_tuple(reinterpret_cast<std::uintptr_t>(tensor.data()), tensor.read_only());
  facts["strides"] = tensor.layout().elements() > 0 ? numbers_tuple(strides) : nb::none();
  return facts;
}

}  // namespace

void bind_tensor(nb::module_& module) {
  bind_dtype(module);
  bind_device(module);
  nb::class_<HostView>(module, "_HostView")
      .def_prop_ro("__array_interface__", array_interface,
                   nb::sig("def __array_interface__(self) -> dict[str, typing.Any]"));
  TensorClass tensor(
      module, "Tensor",
      "A typed, shaped view of memory on one device. Made by `weft.zeros`, `weft.tensor`,\n"
      "`weft.from_dlpack`, ...; indexing gives views of the same memory.\n\n"
      ">>> t = weft.zeros((2, 3), dtype=weft.float32, device=\"sim:0\")\n"
      ">>> t.shape, t.dtype, str(t.device), t.strides\n"
      "((2, 3), weft.float32, 'sim:0', (3, 1))\n");
  bind_facts(tensor);
  bind_conversions(tensor);
  bind_protocols(tensor);
  bind_views(tensor);
  bind_writes(tensor);
  bind_object_protocols(tensor);
  bind_factories(module);
}

}  // namespace weft::python
