// What Python's own protocols ask of a Tensor: iteration, comparison, copy, pickle.
#include <nanobind/stl/string.h>

#include <cstring>
#include <functional>

#include "core/base/error.h"
#include "python/bind/tensor_ops.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

using TensorClass = nb::class_<Tensor>;

nb::object refuse_comparison(const Tensor&, nb::handle other) {
  const bool numbers = nb::isinstance<Tensor>(other) || is_numpy_array(other) ||
                       nb::hasattr(other, "__dlpack__") || PyNumber_Check(other.ptr());
  if (!numbers) return nb::borrow(nb::handle(Py_NotImplemented));
  fail(ErrorCode::invalid_argument,
       "tensors are not compared element by element yet: compare their .numpy() or .tolist()");
}

// What a pickle holds: the elements in row-major order as bytes, from any device.
nb::tuple state_of(const Tensor& tensor) {
  const Tensor host = contiguous(move_to(tensor, DeviceId{}));
  const nb::bytes elements(host.data(), static_cast<std::size_t>(host.bytes().value()));
  return nb::make_tuple(elements, numbers_tuple(host.layout().sizes()), dtype_object(host.dtype()),
                        tensor.device());
}

Tensor tensor_of(const nb::tuple& state) {
  const auto elements = nb::cast<nb::bytes>(state[0]);
  const Tensor host = Tensor::empty(parse_sizes(state[1]), parse_dtype(state[2]), DeviceId{});
  if (static_cast<std::int64_t>(elements.size()) != host.bytes().value()) {
    fail(ErrorCode::invalid_argument, elements.size(), " bytes for a tensor of ",
         host.bytes().value());
  }
  if (elements.size() > 0) std::memcpy(host.data(), elements.data(), elements.size());
  return move_to(host, parse_device(state[3]));
}

nb::object deep_copy(const Tensor& tensor, nb::handle) {
  return nb::cast(clone_to(tensor, tensor.device()));
}

void bind_copies(TensorClass& tensor) {
  tensor
      .def(
          "__copy__", [](const Tensor& t) { return t; },
          "Another Tensor over the same memory, as in PyTorch.")
      .def("__deepcopy__", deep_copy, "memo"_a.none(),
           nb::sig("def __deepcopy__(self, memo: object) -> Tensor"),
           "`clone()`: a contiguous copy on the same device.")
      .def("__getstate__", state_of,
           nb::sig("def __getstate__(self) -> tuple[bytes, tuple[int, ...], DType, Device]"),
           "Elements, shape, dtype and device, for pickle; to load it needs that device.")
      .def(
          "__setstate__",
          [](Tensor& self, const nb::tuple& state) { new (&self) Tensor(tensor_of(state)); },
          nb::sig("def __setstate__(self, state: tuple[bytes, tuple[int, ...], DType, Device]) "
                  "-> None"));
}

// Without these Python would compare identities and say False of equal tensors, and a tensor of 0
// dimensions would be empty.
void bind_rows_and_comparisons(TensorClass& tensor) {
  const char* why = "Not there yet: InvalidArgument for tensors, arrays and numbers.";
  tensor
      .def(
          "__iter__",
          [](nb::handle self) {
            if (nb::cast<const Tensor&>(self).layout().dims() == 0) {
              throw nb::type_error("a tensor of 0 dimensions has no rows to iterate over");
            }
            return nb::steal(PySeqIter_New(self.ptr()));
          },
          nb::sig("def __iter__(self) -> collections.abc.Iterator[Tensor]"), "Views of its rows.")
      .def("__eq__", refuse_comparison, "other"_a.none(),
           nb::sig("def __eq__(self, other: object) -> bool"), why)
      .def("__ne__", refuse_comparison, "other"_a.none(),
           nb::sig("def __ne__(self, other: object) -> bool"), why)
      .def(
          "__hash__", [](nb::handle self) { return std::hash<const void*>()(self.ptr()); },
          "By identity, as in PyTorch.")
      .def(
          "__contains__",
          [](const Tensor& t, nb::handle value) {
            refuse_comparison(t, value);
            return false;  // no element is that
          },
          "value"_a.none(), nb::sig("def __contains__(self, value: object) -> bool"), why);
}

}  // namespace

void bind_object_protocols(nb::class_<Tensor>& tensor) {
  bind_copies(tensor);
  bind_rows_and_comparisons(tensor);
}

}  // namespace weft::python
