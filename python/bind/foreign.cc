#include "python/bind/foreign.h"

#include "core/base/error.h"
#include "python/bind/convert.h"

namespace weft::python {
namespace {

// Not valid where the object (or a type, for what need not be evaluated) has none of that name.
nb::object attribute(nb::handle object, const char* name) {
  if (!object.is_valid()) return {};
  PyObject* found = PyObject_GetAttrString(object.ptr(), name);
  if (found) return nb::steal(found);
  nb::python_error error;
  if (!error.matches(PyExc_AttributeError)) throw error;
  return {};
}

bool has(nb::handle object, const char* name) { return attribute(object, name).is_valid(); }

bool is_number(nb::handle object) {
  return object.is_valid() && PyLong_Check(object.ptr()) && !nb::isinstance<nb::bool_>(object);
}

std::int64_t address(nb::handle number) {
  int overflow = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0 || value < 0) {
    fail(ErrorCode::invalid_argument, text_of(number), " is no address of a stream or event");
  }
  return value;
}

std::optional<int> ordinal(nb::handle number) {
  if (!is_number(number)) return std::nullopt;
  int overflow = 0;
  const long value = PyLong_AsLongAndOverflow(number.ptr(), &overflow);
  // CuPy says -1 of the default streams.
  if (overflow != 0 || value < 0 || value > 0xffff) return std::nullopt;
  return static_cast<int>(value);
}

void refuse_closed(nb::handle object) {
  const nb::object closed = attribute(object, "is_closed");
  if (closed.is_valid() && closed.is(nb::handle(Py_True))) {
    fail(ErrorCode::invalid_argument, repr_of(object), " is closed");
  }
}

std::int64_t protocol_address(nb::handle object, const nb::object& protocol) {
  refuse_closed(object);
  const nb::object said = PyCallable_Check(protocol.ptr()) ? protocol() : protocol;
  const bool is_pair = nb::isinstance<nb::tuple>(said) && nb::len(said) == 2;
  const nb::object version = is_pair ? nb::object(said[0]) : nb::object();
  const nb::object handle = is_pair ? nb::object(said[1]) : nb::object();
  if (!is_number(version) || !is_number(handle) || address(version) != 0) {
    fail(ErrorCode::invalid_argument, "__cuda_stream__ of ", repr_of(object),
         " must give (0, an address), not ", repr_of(said));
  }
  return address(handle);
}

}  // namespace

std::optional<ForeignHandle> foreign_stream(nb::handle object) {
  if (is_number(object)) return ForeignHandle{address(object)};
  // First what is read for every operation of a training loop.
  const nb::object of_torch = attribute(object, "cuda_stream");
  if (is_number(of_torch)) {
    const nb::object device = attribute(object, "device");
    return ForeignHandle{address(of_torch), ordinal(attribute(device, "index"))};
  }
  const nb::object protocol = attribute(object, "__cuda_stream__");
  if (protocol.is_valid()) {
    const std::int64_t stream = protocol_address(object, protocol);
    nb::object says = attribute(object, "device");
    if (!says.is_valid()) says = nb::borrow(object);  // CuPy's newer ones
    return ForeignHandle{stream, ordinal(attribute(says, "device_id"))};
  }
  const nb::object of_cupy = attribute(object, "ptr");  // which its events and memory have too
  if (is_number(of_cupy) && has(object.type(), "wait_event")) {
    return ForeignHandle{address(of_cupy), ordinal(attribute(object, "device_id"))};
  }
  return std::nullopt;
}

std::optional<ForeignHandle> foreign_event(nb::handle object) {
  const nb::object of_torch = attribute(object, "cuda_event");
  if (is_number(of_torch)) {
    const nb::object device = attribute(object, "device");
    return ForeignHandle{address(of_torch), ordinal(attribute(device, "index"))};
  }
  // Asked of the types: to ask an event itself whether it is done is a call to the driver.
  const nb::object of_cupy = attribute(object, "ptr");
  if (is_number(of_cupy) && has(object.type(), "done") && has(object.type(), "record") &&
      !has(object.type(), "wait_event")) {
    return ForeignHandle{address(of_cupy)};
  }
  if (!has(object.type(), "is_done")) return std::nullopt;
  refuse_closed(object);
  const nb::object of_core = attribute(object, "handle");
  if (!of_core.is_valid() || of_core.is_none()) return std::nullopt;
  const nb::object device = attribute(object, "device");
  return ForeignHandle{address(nb::int_(of_core)), ordinal(attribute(device, "device_id"))};
}

}  // namespace weft::python
