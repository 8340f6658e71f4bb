#include "python/bind/exchange.h"

#include <array>

namespace weft::python {

struct ExchangeApi {
  std::uint32_t major;
  std::uint32_t minor;
  const ExchangeApi* previous;  // of an older major version
  int (*allocate)(dlpack::View* prototype, dlpack::ManagedVersioned** out, void* context,
                  void (*set_error)(void* context, const char* kind, const char* message));
  int (*managed_from_object)(void* object, dlpack::ManagedVersioned** out);  // a new share
  int (*managed_to_object)(dlpack::ManagedVersioned* managed, void** object);
  int (*view_from_object)(void* object, dlpack::View* out);
  int (*current_work_stream)(std::int32_t device_kind, std::int32_t ordinal, void** stream);
};

namespace {

constexpr const char* kCapsule = "dlpack_exchange_api";

const ExchangeApi* find_api(PyTypeObject* type) {
  const nb::handle handle(reinterpret_cast<PyObject*>(type));
  const nb::object capsule = nb::getattr(handle, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_IsValid(capsule.ptr(), kCapsule)) return nullptr;
  auto* api = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), kCapsule));
  while (api && api->major > dlpack::kMajorVersion) api = api->previous;
  return api && api->major == dlpack::kMajorVersion && api->managed_from_object ? api : nullptr;
}

// An attribute that the type has not counts as false.
bool is_true(PyObject* given) {
  const nb::object answer = nb::steal(given);
  if (answer.is_valid()) return PyObject_IsTrue(given) == 1;
  nb::python_error error;
  if (!error.matches(PyExc_AttributeError)) throw error;
  return false;
}

// Types that were found to have one. They are kept, so that no other takes their place.
struct Known {
  PyTypeObject* type = nullptr;
  const ExchangeApi* api = nullptr;
};

}  // namespace

const ExchangeApi* exchange_api(nb::handle object) {
  static std::array<Known, 4> known{};
  static std::size_t next = 0;
  PyTypeObject* type = Py_TYPE(object.ptr());
  for (const Known& one : known) {
    if (one.type == type) return one.api;
  }
  const ExchangeApi* api = find_api(type);
  if (!api) return nullptr;
  Py_INCREF(reinterpret_cast<PyObject*>(type));
  Known& slot = known[next++ % known.size()];
  Py_XDECREF(reinterpret_cast<PyObject*>(slot.type));
  slot = {type, api};
  return api;
}

bool refuses_lending(nb::handle object) {
  static PyObject* const requires_grad = PyUnicode_InternFromString("requires_grad");
  static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
  return is_true(PyObject_GetAttr(object.ptr(), requires_grad)) ||
         is_true(PyObject_CallMethodObjArgs(object.ptr(), is_neg, nullptr));
}

Tensor import_by_exchange(const ExchangeApi& api, nb::handle object) {
  dlpack::ManagedVersioned* managed = nullptr;
  if (api.managed_from_object(object.ptr(), &managed) != 0) throw nb::python_error();
  return dlpack::from_dlpack(managed);
}

bool view_by_exchange(const ExchangeApi& api, nb::handle object, dlpack::View& view) {
  if (!api.view_from_object) return false;
  if (api.view_from_object(object.ptr(), &view) != 0) throw nb::python_error();
  return true;
}

std::optional<std::int64_t> current_stream(const ExchangeApi& api, int ordinal) {
  void* stream = nullptr;
  if (!api.current_work_stream) return std::nullopt;
  if (api.current_work_stream(dlpack::kCuda, ordinal, &stream) != 0) throw nb::python_error();
  return static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(stream));
}

}  // namespace weft::python
