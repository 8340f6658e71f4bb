#include "python/bind/convert.h"

#include <nanobind/stl/string.h>

#include <string>

#include "core/base/error.h"
#include "core/device/cuda_hook.h"
#include "core/tensor/dlpack.h"
#include "python/bind/exchange.h"
#include "python/bind/stream.h"

namespace weft::python {
namespace {

// NumPy's __array_struct__, a documented C protocol: cheaper than __array_interface__, with the
// same facts. A capsule without a name holds it.
struct ArrayStruct {
  int two;
  int ndim;
  char kind;
  int item_bytes;
  int flags;
  std::intptr_t* shape;
  std::intptr_t* strides;  // in bytes
  void* data;
  PyObject* description;
};
constexpr int kAligned = 0x100;
constexpr int kNativeOrder = 0x200;
constexpr int kWriteable = 0x400;

std::string utf8(PyObject* text) {
  const nb::object owned = nb::steal(text);
  const char* chars = text ? PyUnicode_AsUTF8AndSize(text, nullptr) : nullptr;
  if (chars) return chars;
  PyErr_Clear();
  return "?";
}

std::optional<DType> integer_dtype(int bytes) {
  switch (bytes) {
    case 1:
      return DType::i8;
    case 2:
      return DType::i16;
    case 4:
      return DType::i32;
    case 8:
      return DType::i64;
    default:
      return std::nullopt;
  }
}

std::optional<DType> float_dtype(int bytes) {
  switch (bytes) {
    case 2:
      return DType::f16;
    case 4:
      return DType::f32;
    case 8:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

std::optional<DType> array_dtype(nb::handle array, const ArrayStruct& info) {
  if (!(info.flags & kNativeOrder)) return std::nullopt;
  switch (info.kind) {
    case 'b':
      return DType::bool_;
    case 'u':
      return info.item_bytes == 1 ? std::optional(DType::u8) : std::nullopt;
    case 'i':
      return integer_dtype(info.item_bytes);
    case 'f':
      return info.item_bytes == 1 ? ml_dtype(array) : float_dtype(info.item_bytes);
    case 'V':  // what NumPy calls most types that it does not know
      return ml_dtype(array);
    default:
      return std::nullopt;
  }
}

Layout array_layout(const ArrayStruct& info) {
  const auto dims = static_cast<std::size_t>(info.ndim);
  std::vector<std::int64_t> numbers(2 * dims);
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < dims; ++i) {
    numbers[i] = info.shape[i];
    elements *= info.shape[i];
  }
  for (std::size_t i = 0; i < dims; ++i) {
    if (elements > 0 && info.shape[i] > 1 && info.strides[i] % info.item_bytes != 0) {
      fail(ErrorCode::invalid_argument, "the array's strides are not multiples of its ",
           info.item_bytes, "-byte elements");
    }
    numbers[dims + i] = info.strides[i] / info.item_bytes;
  }
  return Layout::strided({numbers.data(), dims}, {numbers.data() + dims, dims});
}

Tensor borrow_array(nb::handle array, Alignment alignment) {
  const nb::object capsule = array.attr("__array_struct__");
  const auto* info = static_cast<ArrayStruct*>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
  if (!info) throw nb::python_error();
  const std::optional<DType> dtype = array_dtype(array, *info);
  if (!dtype) {
    fail(ErrorCode::dtype_mismatch, "arrays of ", text_of(array.attr("dtype")),
         " are not supported; these are: ", known_dtypes());
  }
  Layout layout = array_layout(*info);
  if (alignment == Alignment::needed && !(info->flags & kAligned) && layout.elements() > 0) {
    fail(ErrorCode::invalid_argument, "the array's data is not aligned to its ", info->item_bytes,
         "-byte elements");
  }
  const Layout::Extent extent = layout.extent();
  const bool read_only = !(info->flags & kWriteable);
  std::shared_ptr<Storage> storage = Storage::adopt(
      DeviceId{}, static_cast<std::byte*>(info->data) + extent.low * info->item_bytes,
      Bytes((extent.high - extent.low) * info->item_bytes), read_only, nullptr, nullptr);
  return Tensor(std::move(storage), *dtype, std::move(layout), -extent.low);
}

// The struct's owner from now on is the caller: a renamed capsule is never consumed or deleted
// again.
template <class Struct>
Struct* consume(nb::handle capsule, const char* name, const char* used_name) {
  auto* managed = static_cast<Struct*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (!managed || PyCapsule_SetName(capsule.ptr(), used_name) != 0) throw nb::python_error();
  return managed;
}

Tensor consume_capsule(nb::handle capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    return dlpack::from_dlpack(consume<dlpack::ManagedVersioned>(capsule, "dltensor_versioned",
                                                                 "used_dltensor_versioned"));
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    return dlpack::from_dlpack(consume<dlpack::Managed>(capsule, "dltensor", "used_dltensor"));
  }
  const char* name =
      PyCapsule_CheckExact(capsule.ptr()) ? PyCapsule_GetName(capsule.ptr()) : nullptr;
  PyErr_Clear();
  fail(ErrorCode::invalid_argument, "a DLPack capsule is needed, not ",
       name ? concat("a capsule named \"", name, "\" (consumed already?)") : name_of_type(capsule));
}

// PyTorch exports a tensor only while its device is the thread's current one.
class CurrentCudaDevice {
 public:
  explicit CurrentCudaDevice(int ordinal) : previous_(exchange_current_cuda_device(ordinal)) {}
  ~CurrentCudaDevice() { exchange_current_cuda_device(previous_); }
  CurrentCudaDevice(const CurrentCudaDevice&) = delete;
  CurrentCudaDevice& operator=(const CurrentCudaDevice&) = delete;

 private:
  int previous_;
};

// What __dlpack_device__ says: a device type of DLPack, and which one of it.
std::pair<std::int64_t, int> producer_device(nb::handle object) {
  const nb::object method = object.attr("__dlpack_device__");
  const nb::object said = call_python(method, nb::tuple(), nb::dict());
  if (nb::isinstance<nb::tuple>(said) && nb::len(said) == 2) {
    const nb::object type = nb::steal(PyNumber_Index(nb::object(said[0]).ptr()));
    const nb::object ordinal = nb::steal(PyNumber_Index(nb::object(said[1]).ptr()));
    PyErr_Clear();
    std::int64_t type_number = 0;
    int number = 0;
    if (type.is_valid() && ordinal.is_valid() && nb::try_cast(type, type_number) &&
        nb::try_cast(ordinal, number)) {
      return {type_number, number};
    }
  }
  fail(ErrorCode::invalid_argument, "__dlpack_device__ of ", name_of_type(object),
       " must give (device type, index), not ", repr_of(said));
}

nb::object call_dlpack(nb::handle object, std::int64_t consumer_stream) {
  const auto [type, ordinal] = producer_device(object);
  const bool on_cuda = type == dlpack::kCuda;
  const CurrentCudaDevice current(on_cuda ? ordinal : -1);
  nb::dict arguments;
  if (on_cuda) {
    arguments["stream"] = consumer_stream == 0 ? 1 : consumer_stream;
  }
  nb::dict versioned;
  versioned.update(arguments);
  versioned["max_version"] = nb::make_tuple(dlpack::kMajorVersion, dlpack::kMinorVersion);
  const nb::object method = object.attr("__dlpack__");
  try {
    return call_python(method, nb::tuple(), versioned);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return call_python(method, nb::tuple(), arguments);  // a producer from before max_version
}

template <class Struct>
nb::object make_capsule(Struct* managed, const char* name, PyCapsule_Destructor destructor) {
  PyObject* capsule = PyCapsule_New(managed, name, destructor);
  if (!capsule) {
    managed->deleter(managed);
    throw nb::python_error();
  }
  return nb::steal(capsule);
}

// A capsule that nobody consumed still has its name, and owns the struct.
void delete_versioned(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor_versioned")) return;
  auto* managed =
      static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
  managed->deleter(managed);
}

void delete_legacy(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;
  auto* managed = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, "dltensor"));
  managed->deleter(managed);
}

// Orders what comes next on `consumer` after what is on `producer`, of the same device; false where
// that would draw one of them into the other's capture.
bool order_after(Device& device, Stream producer, Stream consumer) {
  if (producer.handle == consumer.handle) return true;
  if (device.is_capturing(producer) || device.is_capturing(consumer)) return false;
  const OwnedEvent event = new_event(device);  // who waits for it goes on without it
  device.record(event.get(), producer);
  device.wait(consumer, event.get());
  return true;
}

Stream stream_of(std::int64_t handle) {
  return {reinterpret_cast<void*>(static_cast<std::intptr_t>(handle))};
}

// By the type's table, if it has one and says which stream the producer works on, where what it
// does has to be ordered before the consumer's stream.
std::optional<Tensor> import_quickly(nb::handle object, std::int64_t consumer_stream) {
  const ExchangeApi* api = exchange_api(object);
  if (!api || refuses_lending(object)) return std::nullopt;
  Tensor tensor = import_by_exchange(*api, object);
  const DeviceId device = tensor.device();
  if (consumer_stream == kNoOrdering || device.kind != DeviceKind::cuda) return tensor;
  const auto producer = current_stream(*api, device.ordinal.value());
  if (!producer) return std::nullopt;
  const bool ordered =
      order_after(weft::device(device), stream_of(*producer), stream_of(consumer_stream));
  return ordered ? std::optional(std::move(tensor)) : std::nullopt;
}

}  // namespace

std::string text_of(nb::handle object) { return utf8(PyObject_Str(object.ptr())); }

std::string repr_of(nb::handle object) { return utf8(PyObject_Repr(object.ptr())); }

std::string name_of_type(nb::handle object) {
  return nb::cast<std::string>(object.type().attr("__name__"));
}

bool is_numpy_array(nb::handle object) {
  // Only what imported NumPy can have made an array; nothing is imported to find out.
  const nb::object name = nb::str("numpy");
  const nb::object numpy = nb::steal(PyImport_GetModule(name.ptr()));
  if (!numpy.is_valid()) {
    PyErr_Clear();
    return false;
  }
  const int is_array = PyObject_IsInstance(object.ptr(), numpy.attr("ndarray").ptr());
  if (is_array < 0) throw nb::python_error();
  return is_array == 1;
}

std::optional<DType> ml_dtype(nb::handle array) {
  const auto dtype = dtype_named(nb::cast<std::string>(array.attr("dtype").attr("name")));
  return dtype && needs_ml_dtypes(*dtype) ? dtype : std::nullopt;
}

Tensor import_dlpack(nb::handle object, std::int64_t consumer_stream) {
  if (PyCapsule_CheckExact(object.ptr())) return consume_capsule(object);
  if (!nb::hasattr(object, "__dlpack__") || !nb::hasattr(object, "__dlpack_device__")) {
    fail(ErrorCode::invalid_argument, name_of_type(object),
         " is no tensor: a weft tensor, a NumPy array, or an object with __dlpack__ is needed");
  }
  return consume_capsule(call_dlpack(object, consumer_stream));
}

Tensor import_tensor(nb::handle object, std::int64_t consumer_stream, Alignment alignment) {
  if (nb::isinstance<Tensor>(object)) return nb::cast<const Tensor&>(object);
  if (auto tensor = import_quickly(object, consumer_stream)) return *std::move(tensor);
  if (is_numpy_array(object)) return borrow_array(object, alignment);
  return import_dlpack(object, consumer_stream);
}

nb::object export_dlpack(const Tensor& tensor, bool versioned, bool copied) {
  if (versioned) {
    return make_capsule(dlpack::to_dlpack_versioned(tensor, copied), "dltensor_versioned",
                        delete_versioned);
  }
  return make_capsule(dlpack::to_dlpack(tensor), "dltensor", delete_legacy);
}

nb::object dtype_object(DType dtype) {
  const bool is_bool = dtype == DType::bool_;
  return nb::module_::import_("weft._weft").attr(is_bool ? "bool_" : dtype_name(dtype));
}

DType parse_dtype(nb::handle object) {
  if (nb::isinstance<DTypeObject>(object)) return nb::cast<DTypeObject>(object).value;
  std::string name;
  if (nb::isinstance<nb::str>(object)) {
    name = nb::cast<std::string>(object);
  } else {
    try {
      const nb::object found = nb::module_::import_("numpy").attr("dtype")(object);
      name = nb::cast<std::string>(found.attr("name"));
      if (!nb::cast<bool>(found.attr("isnative"))) name += " of foreign byte order";
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_TypeError) && !error.matches(PyExc_ValueError)) throw;
      name = repr_of(object);
    }
  }
  if (const std::optional<DType> dtype = dtype_named(name)) return *dtype;
  fail(ErrorCode::dtype_mismatch, name, " is not a dtype of weft: ", known_dtypes());
}

std::string known_dtypes() {
  std::string known;
  for (int i = 0; i < kDTypeCount; ++i) {
    known += concat(i ? ", " : "", dtype_name(static_cast<DType>(i)));
  }
  return known;
}

DeviceId parse_device(nb::handle object) {
  if (object.is_none()) return DeviceId{};
  if (nb::isinstance<DeviceId>(object)) return nb::cast<DeviceId>(object);
  if (!nb::isinstance<nb::str>(object)) {
    fail(ErrorCode::invalid_argument, "a device is a weft.Device or its name, not ",
         name_of_type(object));
  }
  const DeviceId id = DeviceId::parse(nb::cast<std::string>(object));
  device(id);  // refuses one that this machine has not
  return id;
}

std::int64_t parse_integer(nb::handle object, const char* what) {
  const nb::object number = nb::steal(PyNumber_Index(object.ptr()));
  if (!number.is_valid()) {
    nb::python_error error;
    if (!error.matches(PyExc_TypeError)) throw error;
    fail(ErrorCode::invalid_argument, what, " must be an integer, not ", name_of_type(object));
  }
  int overflow = 0;
  const std::int64_t value = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) {
    fail(ErrorCode::size_overflow, what, " ", text_of(number), " does not fit in 63 bits");
  }
  return value;
}

std::vector<std::int64_t> parse_sizes(nb::handle object) {
  if (PyIndex_Check(object.ptr())) return {parse_integer(object, "a size")};
  if (!nb::isinstance<nb::sequence>(object) || nb::isinstance<nb::str>(object)) {
    fail(ErrorCode::invalid_argument, "a shape is a tuple of integers, not ", name_of_type(object));
  }
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0, count = nb::len(object); i < count; ++i) {
    sizes.push_back(parse_integer(object[i], "a size"));
  }
  return sizes;
}

std::vector<std::int64_t> parse_size_arguments(const nb::args& size) {
  return size.size() == 1 ? parse_sizes(size[0]) : parse_sizes(size);
}

nb::object numbers_tuple(std::span<const std::int64_t> numbers) {
  nb::list list;
  for (std::int64_t number : numbers) list.append(number);
  return nb::steal(PySequence_Tuple(list.ptr()));
}

}  // namespace weft::python
