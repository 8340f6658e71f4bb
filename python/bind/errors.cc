// The Python exception classes, made from error.def: each is a weft.Error and the fitting built-in.
#include <array>
#include <new>
#include <system_error>

#include "python/bind/bind.h"
#include "python/bind/convert.h"

namespace weft::python {
namespace {

constexpr std::size_t kCodes = 0
#define WEFT_ERROR(code, python_name, python_base, meaning) +1
#include "core/base/error.def"
#undef WEFT_ERROR
    ;

// Owned for the life of the process, like the module itself.
std::array<PyObject*, kCodes> classes{};

const char* code_name(ErrorCode code) {
  switch (code) {
#define WEFT_ERROR(code, python_name, python_base, meaning) \
  case ErrorCode::code:                                     \
    return #code;
#include "core/base/error.def"
#undef WEFT_ERROR
  }
  return "internal";
}

nb::object new_class(const char* name, const char* doc, nb::handle bases) {
  const std::string qualified = std::string("weft.") + name;
  return nb::steal(PyErr_NewExceptionWithDoc(qualified.c_str(), doc, bases.ptr(), nullptr));
}

template <class T>
nb::object or_none(const std::optional<T>& value) {
  return value ? nb::cast(*value) : nb::none();
}

void raise(const Error& error) {
  const nb::object value = exception_of(error);
  PyErr_SetObject(classes[static_cast<std::size_t>(error.code())], value.ptr());
}

// What is caught nowhere here is left to nanobind.
void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    raise(error);
  } catch (const std::bad_alloc&) {
    raise(current_error());
  } catch (const std::system_error&) {
    raise(current_error());
  }
}

}  // namespace

Error error_of(nb::handle exception) {
  for (std::size_t code = 0; code < kCodes; ++code) {
    if (PyErr_GivenExceptionMatches(exception.ptr(), classes[code])) {
      return Error(static_cast<ErrorCode>(code), text_of(exception));
    }
  }
  return Error(ErrorCode::invalid_argument,
               concat(name_of_type(exception), ": ", text_of(exception)));
}

nb::object exception_of(const Error& error) {
  const nb::handle type = classes[static_cast<std::size_t>(error.code())];
  nb::object value = type(error.message().c_str());
  nb::list culprits;
  for (const int rank : error.context().culprits) culprits.append(rank);
  value.attr("code") = code_name(error.code());
  value.attr("rank") = or_none(error.context().rank);
  value.attr("device") =
      error.context().device ? nb::object(nb::str(error.context().device->c_str())) : nb::none();
  value.attr("step") = or_none(error.context().step);
  value.attr("culprits") = nb::tuple(culprits);
  return value;
}

void bind_errors(nb::module_& module) {
  const nb::object base = new_class(
      "Error",
      "The base of every error of weft.\n\n"
      "code: which one; rank, device, step: where, or None; culprits: the ranks to blame.",
      nb::handle(PyExc_Exception));
  for (const char* field : {"code", "rank", "device", "step"}) base.attr(field) = nb::none();
  base.attr("culprits") = nb::tuple();
  module.attr("Error") = base;
  const nb::module_ builtins = nb::module_::import_("builtins");
  const auto add = [&](ErrorCode code, const char* name, const char* builtin, const char* doc) {
    const nb::tuple bases = nb::make_tuple(base, builtins.attr(builtin));
    nb::object type = new_class(name, doc, bases);
    module.attr(name) = type;
    classes[static_cast<std::size_t>(code)] = type.release().ptr();
  };
#define WEFT_ERROR(code, python_name, python_base, meaning) \
  add(ErrorCode::code, #python_name, #python_base, meaning);
#include "core/base/error.def"
#undef WEFT_ERROR
  nb::register_exception_translator(translate);
}

}  // namespace weft::python
