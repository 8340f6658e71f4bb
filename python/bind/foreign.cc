#include "python/bind/foreign.h"

#include <algorithm>
#include <cstddef>

#include "core/base/error.h"
#include "python/bind/convert.h"

namespace weft::python {
namespace {

// A literal as an argument of a template.
template <std::size_t kSize>
struct Name {
  char text[kSize];
  constexpr Name(const char (&literal)[kSize]) { std::copy_n(literal, kSize, text); }
};

// Not valid where the object (or a type, for what need not be evaluated) has none of that name. The
// interpreter finds a name faster that is always the same object: each is made once.
template <Name kName>
nb::object attribute(nb::handle object) {
  static PyObject* const name = PyUnicode_InternFromString(kName.text);
  if (!object.is_valid()) return {};
  PyObject* found = PyObject_GetAttr(object.ptr(), name);
  if (found) return nb::steal(found);
  nb::python_error error;
  if (!error.matches(PyExc_AttributeError)) throw error;
  return {};
}

template <Name kName>
bool has(nb::handle object) {
  return attribute<kName>(object).is_valid();
}

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
  const nb::object closed = attribute<"is_closed">(object);
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
  const nb::object of_torch = attribute<"cuda_stream">(object);
  if (is_number(of_torch)) {
    const nb::object device = attribute<"device">(object);
    return ForeignHandle{address(of_torch), ordinal(attribute<"index">(device))};
  }
  const nb::object protocol = attribute<"__cuda_stream__">(object);
  if (protocol.is_valid()) {
    const std::int64_t stream = protocol_address(object, protocol);
    nb::object says = attribute<"device">(object);
    if (!says.is_valid()) says = nb::borrow(object);  // CuPy's newer ones
    return ForeignHandle{stream, ordinal(attribute<"device_id">(says))};
  }
  const nb::object of_cupy = attribute<"ptr">(object);  // which its events and memory have too
  if (is_number(of_cupy) && has<"wait_event">(object.type())) {
    return ForeignHandle{address(of_cupy), ordinal(attribute<"device_id">(object))};
  }
  return std::nullopt;
}

std::optional<ForeignHandle> foreign_event(nb::handle object) {
  const nb::object of_torch = attribute<"cuda_event">(object);
  if (is_number(of_torch)) {
    const nb::object device = attribute<"device">(object);
    return ForeignHandle{address(of_torch), ordinal(attribute<"index">(device))};
  }
  // Asked of the types: to ask an event itself whether it is done is a call to the driver.
  const nb::object of_cupy = attribute<"ptr">(object);
  if (is_number(of_cupy) && has<"done">(object.type()) && has<"record">(object.type()) &&
      !has<"wait_event">(object.type())) {
    return ForeignHandle{address(of_cupy)};
  }
  if (!has<"is_done">(object.type())) return std::nullopt;
  refuse_closed(object);
  const nb::object of_core = attribute<"handle">(object);
  if (!of_core.is_valid() || of_core.is_none()) return std::nullopt;
  const nb::object device = attribute<"device">(object);
  return ForeignHandle{address(nb::int_(of_core)), ordinal(attribute<"device_id">(device))};
}

}  // namespace weft::python
