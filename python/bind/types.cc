// The classes DType and Device of the extension module.
#include <nanobind/stl/string.h>

#include "core/base/error.h"
#include "python/bind/tensor_ops.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

nb::object dtype_equal(const DTypeObject& dtype, nb::handle other) {
  const char* name = dtype_name(dtype.value);
  if (nb::isinstance<DTypeObject>(other)) {
    return nb::bool_(nb::cast<DTypeObject>(other).value == dtype.value);
  }
  if (nb::isinstance<nb::str>(other)) return nb::bool_(nb::str(other).equal(nb::str(name)));
  return nb::borrow(nb::handle(Py_NotImplemented));
}

nb::object device_equal(const DeviceId& id, nb::handle other) {
  if (nb::isinstance<DeviceId>(other)) return nb::bool_(nb::cast<DeviceId>(other) == id);
  if (nb::isinstance<nb::str>(other)) {
    return nb::bool_(nb::borrow(other).equal(nb::str(id.str().c_str())));
  }
  return nb::borrow(nb::handle(Py_NotImplemented));
}

DeviceId named_device(nb::handle name) {
  if (name.is_none()) fail(ErrorCode::invalid_argument, "a device has a name; the host is \"cpu\"");
  return parse_device(name);
}

}  // namespace

void bind_dtype(nb::module_& module) {
  nb::class_<DTypeObject>(module, "DType",
                          "An element type: `weft.float32` and so on. Equal to its name.\n\n"
                          ">>> weft.float32.itemsize, weft.float32 == \"float32\", str(weft.bool)\n"
                          "(4, True, 'bool')\n")
      .def_prop_ro(
          "name", [](const DTypeObject& d) { return dtype_name(d.value); },
          "\"float32\", \"bool\", ...")
      .def_prop_ro(
          "itemsize", [](const DTypeObject& d) { return item_bytes(d.value); },
          "Bytes of one element.")
      .def_prop_ro(
          "is_floating", [](const DTypeObject& d) { return is_floating(d.value); },
          "A floating-point type, of 8 to 64 bits?")
      .def("__eq__", dtype_equal, "other"_a.none(),
           nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__hash__", [](const DTypeObject& d) { return nb::hash(nb::str(dtype_name(d.value))); })
      .def("__str__", [](const DTypeObject& d) { return dtype_name(d.value); })
      .def("__repr__", [](const DTypeObject& d) { return concat("weft.", dtype_name(d.value)); })
      .def("__reduce__", [](const DTypeObject& d) {
        return d.value == DType::bool_ ? "bool_" : dtype_name(d.value);
      });
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    module.attr(dtype == DType::bool_ ? "bool_" : dtype_name(dtype)) = DTypeObject{dtype};
  }
}

void bind_device(nb::module_& module) {
  nb::class_<DeviceId>(
      module, "Device",
      "A device of this process: \"cpu\", \"sim:0\" to \"sim:63\", \"cuda:0\" and so on.\n"
      "Equal to its name. Raises InvalidArgument for one that is not there.\n\n"
      ">>> d = weft.Device(\"sim:3\")\n"
      ">>> d.kind, d.index, str(d)\n"
      "('sim', 3, 'sim:3')\n")
      .def(
          "__init__",
          [](DeviceId* self, nb::handle name) { new (self) DeviceId(named_device(name)); },
          "name"_a.none(), nb::sig("def __init__(self, name: Device | str) -> None"))
      .def_prop_ro(
          "kind", [](const DeviceId& id) { return kind_name(id.kind); },
          "\"cpu\", \"sim\" or \"cuda\".")
      .def_prop_ro(
          "index", [](const DeviceId& id) { return id.ordinal.value(); },
          "Which one of its kind, from 0.")
      .def("__eq__", device_equal, "other"_a.none(),
           nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__hash__", [](const DeviceId& id) { return nb::hash(nb::str(id.str().c_str())); })
      .def("__str__", &DeviceId::str)
      .def("__repr__", [](const DeviceId& id) { return concat("Device('", id.str(), "')"); })
      .def(
          "__reduce__",
          [](nb::handle self) {
            return nb::make_tuple(self.type(), nb::make_tuple(nb::str(self)));
          },
          nb::sig("def __reduce__(self) -> tuple[type[Device], tuple[str]]"));
}

}  // namespace weft::python
