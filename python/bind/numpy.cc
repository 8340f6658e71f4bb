// What of the tensor binding is made with NumPy: arrays over tensors, and numbers of any kind into
// them.
#include <nanobind/stl/string.h>

#include <cstring>
#include <limits>
#include <string>

#include "core/base/error.h"
#include "core/tensor/narrow_float.h"
#include "python/bind/tensor_ops.h"

namespace weft::python {
namespace {

nb::module_ numpy() { return nb::module_::import_("numpy"); }

// Silences NumPy's warnings of casts that overflow to infinity or wrap, while it lives.
class QuietCasts {
 public:
  QuietCasts()
      : state_(
            numpy().attr("errstate")(nb::arg("over") = "ignore", nb::arg("invalid") = "ignore")) {
    state_.attr("__enter__")();
  }
  QuietCasts(const QuietCasts&) = delete;
  QuietCasts& operator=(const QuietCasts&) = delete;
  ~QuietCasts() {
    try {
      state_.attr("__exit__")(nb::none(), nb::none(), nb::none());
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("restoring numpy.errstate");
    }
  }

 private:
  nb::object state_;
};

template <class To, class From, class Convert>
Tensor convert(const Tensor& tensor, DType to, Convert convert_one) {
  const Tensor source = contiguous(move_to(tensor, DeviceId{}));
  const Tensor result = Tensor::empty(source.layout().sizes(), to, DeviceId{});
  without_gil(result.bytes(), [&] {
    const auto* from = static_cast<const From*>(source.data());
    auto* out = static_cast<To*>(result.data());
    for (std::int64_t i = 0; i < source.layout().elements(); ++i) out[i] = convert_one(from[i]);
  });
  return result;
}

// To float32, of what needs_ml_dtypes().
Tensor widened(const Tensor& tensor) {
  const auto from = [&](auto element) {
    using From = decltype(element);
    return convert<float, From>(tensor, DType::f32, [](From x) { return to_float(x); });
  };
  switch (tensor.dtype()) {
    case DType::f8_e4m3fn:
      return from(Float8E4M3{});
    case DType::f8_e5m2:
      return from(Float8E5M2{});
    default:
      return from(BFloat16{});
  }
}

// The reverse.
Tensor narrowed(const Tensor& tensor, DType to) {
  switch (to) {
    case DType::f8_e4m3fn:
      return convert<Float8E4M3, float>(tensor, to, to_float8_e4m3);
    case DType::f8_e5m2:
      return convert<Float8E5M2, float>(tensor, to, to_float8_e5m2);
    default:
      return convert<BFloat16, float>(tensor, to, to_bfloat16);
  }
}

nb::object view_array(const Tensor& tensor) {
  return numpy().attr("asarray")(nb::cast(HostView{tensor}));
}

// The array as NumPy sees numbers; values of sequences that are none (strings, ragged lists) are
// refused.
nb::object number_array(nb::handle data) {
  try {
    return numpy().attr("asarray")(data);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_ValueError) && !error.matches(PyExc_TypeError)) throw;
    fail(ErrorCode::invalid_argument, "no tensor can be made of this: ", text_of(error.value()));
  }
}

std::string array_kind(nb::handle array) {
  if (ml_dtype(array)) return "f";
  return nb::cast<std::string>(array.attr("dtype").attr("kind"));
}

void check_numeric(nb::handle array) {
  if (std::string("biuf").find(array_kind(array)) != std::string::npos) return;
  fail(ErrorCode::dtype_mismatch, "elements of ", text_of(array.attr("dtype")),
       " are not supported; these are: ", known_dtypes());
}

// The least and greatest value of an integer dtype, as Python integers.
std::pair<nb::object, nb::object> integer_range(DType dtype) {
  const std::int64_t bits = 8 * item_bytes(dtype);
  if (dtype == DType::u8) return {nb::int_(0), nb::int_(255)};
  const std::int64_t high = std::numeric_limits<std::int64_t>::max() >> (64 - bits);
  return {nb::int_(-high - 1), nb::int_(high)};
}

void check_range(nb::handle array, DType dtype) {
  if (is_floating(dtype) || dtype == DType::bool_ || array_kind(array) == "b") return;
  if (nb::cast<std::int64_t>(array.attr("size")) == 0) return;
  const auto [low, high] = integer_range(dtype);
  const nb::object least = array.attr("min")().attr("item")();
  const nb::object greatest = array.attr("max")().attr("item")();
  if (least >= low && greatest <= high) return;  // NaN fails both
  fail(ErrorCode::invalid_argument, "values from ", text_of(least), " to ", text_of(greatest),
       " do not fit in ", dtype_name(dtype));
}

DType natural_dtype(nb::handle array) {
  const std::string kind = array_kind(array);
  if (kind == "b") return DType::bool_;
  return kind == "f" ? DType::f32 : DType::i64;
}

// Python's integers have any size, NumPy's have not.
nb::object fill_number(nb::handle value, DType dtype) {
  int overflow = 0;
  if (PyLong_Check(value.ptr())) PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow == 0) return nb::borrow(value);
  nb::object number = nb::steal(is_floating(dtype) ? PyNumber_Float(value.ptr()) : nullptr);
  PyErr_Clear();
  if (number.is_valid()) return number;
  fail(ErrorCode::invalid_argument, text_of(value), " does not fit in ", dtype_name(dtype));
}

}  // namespace

nb::object host_array(const Tensor& tensor) {
  nb::object array = view_array(
      move_to(tensor, tensor.device().kind == DeviceKind::cuda ? DeviceId{} : tensor.device()));
  if (!needs_ml_dtypes(tensor.dtype())) return array;
  const char* name = dtype_name(tensor.dtype());
  try {
    return array.attr("view")(nb::module_::import_("ml_dtypes").attr(name));
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_ImportError)) throw;
    fail(ErrorCode::invalid_argument, "NumPy has no ", name,
         ": install ml_dtypes, or convert with .to(weft.float32)");
  }
}

nb::object readable_array(const Tensor& tensor) {
  return needs_ml_dtypes(tensor.dtype()) ? view_array(widened(tensor)) : host_array(tensor);
}

Tensor tensor_from_array(nb::handle array, DType dtype, DeviceId device, bool strict) {
  check_numeric(array);
  if (strict) check_range(array, dtype);
  const bool same = nb::cast<std::string>(array.attr("dtype").attr("name")) == dtype_name(dtype);
  const bool by_float32 = needs_ml_dtypes(dtype);
  nb::object converted = nb::borrow(array);
  if (!same || !nb::cast<bool>(array.attr("dtype").attr("isnative"))) {
    const QuietCasts quiet;
    converted = array.attr("astype")(by_float32 ? "float32" : dtype_name(dtype));
  }
  const nb::object require = numpy().attr("require");
  const nb::object aligned =
      call_python(require, nb::make_tuple(converted, nb::none(), "A"), nb::dict());
  const Tensor borrowed = import_tensor(aligned, -1);
  return by_float32 && !same ? move_to(narrowed(borrowed, dtype), device)
                             : clone_to(borrowed, device);
}

Tensor tensor_from_data(nb::handle data, std::optional<DType> dtype, DeviceId device) {
  const bool is_tensor =
      nb::isinstance<Tensor>(data) || (!is_numpy_array(data) && nb::hasattr(data, "__dlpack__"));
  if (is_tensor) {
    const Tensor source = import_tensor(data, 0);
    const Tensor result = dtype ? cast(source, *dtype) : source;
    return clone_to(result, device);
  }
  const nb::object array = number_array(data);
  check_numeric(array);
  if (!dtype) {
    const bool typed =
        is_numpy_array(data) || PyObject_IsInstance(data.ptr(), numpy().attr("generic").ptr()) == 1;
    dtype = typed ? parse_dtype(array.attr("dtype")) : natural_dtype(array);
  }
  return tensor_from_array(array, *dtype, device, true);
}

Tensor cast(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  return tensor_from_array(readable_array(tensor), dtype, tensor.device(), false);
}

void fill(const Tensor& tensor, nb::handle value) {
  const nb::object array = number_array(fill_number(value, tensor.dtype()));
  if (nb::cast<int>(array.attr("ndim")) != 0) {
    fail(ErrorCode::shape_mismatch, "one number is written to every element, not a ",
         name_of_type(value), "; elements of their own are those of a tensor or array");
  }
  const bool on_cuda = tensor.device().kind == DeviceKind::cuda;
  const Tensor one =
      tensor_from_array(array, tensor.dtype(), on_cuda ? DeviceId{} : tensor.device(), true);
  const std::vector<std::int64_t> strides(static_cast<std::size_t>(tensor.layout().dims()), 0);
  const Tensor repeated(one.storage(), one.dtype(),
                        Layout::strided(tensor.layout().sizes(), strides));
  copy_elements(tensor, repeated);
}

}  // namespace weft::python
