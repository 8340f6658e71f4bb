// Invariants
//   1. DLPack's C functions do not order streams: they are used where the producer's current stream
//      is the one that the collective is put on, and on the host.
//   2. What they lend is kept alive by who calls: the lists are, until the operation has ended.
//   3. A remembered bucket borrows all of its memory, and is used again only for tensors of the
//      same addresses, devices, dtypes, sizes and strides.
#include "python/bind/bucket.h"

#include <cstring>

#include "core/base/error.h"
#include "core/tensor/dlpack.h"
#include "python/bind/convert.h"
#include "python/bind/exchange.h"

namespace weft::python {
namespace {

using collectives::TensorList;

// Views of one rank's tensors by their type's C functions.
class Views {
 public:
  explicit Views(Stream consumer) : consumer_(consumer) {}

  // False: this object has to be imported in the general way.
  bool of(nb::handle object, dlpack::View& view) {
    PyTypeObject* type = Py_TYPE(object.ptr());
    if (type != type_) {
      type_ = type;
      api_ = exchange_api(object);
      device_ = -1;
    }
    if (!api_ || !view_by_exchange(*api_, object, view)) return false;
    return view.device_type != dlpack::kCuda || on_our_stream(view.device_id);
  }

 private:
  bool on_our_stream(std::int32_t device) {
    if (device == device_) return ours_;
    const auto stream = current_stream(*api_, device);
    device_ = device;
    ours_ = stream && *stream == reinterpret_cast<std::intptr_t>(consumer_.handle);
    return ours_;
  }

  Stream consumer_;
  PyTypeObject* type_ = nullptr;
  const ExchangeApi* api_ = nullptr;
  std::int32_t device_ = -1;
  bool ours_ = false;
};

Tensor import_place(nb::handle object, Views& views, Stream consumer) {
  dlpack::View view{};
  if (views.of(object, view) && !refuses_lending(object)) return dlpack::borrow(view);
  return import_tensor(object, reinterpret_cast<std::intptr_t>(consumer.handle), Alignment::any);
}

// The items of a list or a tuple; nothing of Python's runs between two of them here.
std::vector<nb::object> items_of(nb::handle list) {
  const nb::object fast = nb::steal(PySequence_Fast(list.ptr(), "a list of tensors is needed"));
  if (!fast.is_valid()) throw nb::python_error();
  std::vector<nb::object> items;
  const Py_ssize_t count = PySequence_Size(fast.ptr());
  items.reserve(static_cast<std::size_t>(count));
  for (Py_ssize_t i = 0; i < count; ++i) {
    items.push_back(nb::steal(PySequence_GetItem(fast.ptr(), i)));
  }
  return items;
}

void append_view(std::vector<std::int64_t>& signature, const dlpack::View& view) {
  std::uint32_t type = 0;
  static_assert(sizeof(view.dtype) == sizeof(type));
  std::memcpy(&type, &view.dtype, sizeof(type));
  signature.push_back(reinterpret_cast<std::intptr_t>(view.data));
  signature.push_back(static_cast<std::int64_t>(view.byte_offset));
  signature.push_back(std::int64_t{view.device_type} << 32 | std::uint32_t(view.device_id));
  signature.push_back(std::int64_t{view.ndim} << 33 | std::int64_t{view.strides != nullptr} << 32 |
                      std::int64_t{type});
  for (const std::int64_t* numbers : {view.shape, view.strides}) {
    for (int i = 0; numbers && i < view.ndim; ++i) signature.push_back(numbers[i]);
  }
}

Stream stream_of(const std::vector<Stream>& streams, std::size_t rank) {
  return rank < streams.size() ? streams[rank] : Stream{};
}

// Appends what stands for the lists' tensors; false if that cannot be said of one of them.
bool append_lists(std::vector<std::int64_t>& signature, const nb::list& lists,
                  const std::vector<Stream>& streams) {
  for (std::size_t r = 0; r < lists.size(); ++r) {
    Views views(stream_of(streams, r));
    const nb::object list = lists[r];
    const Py_ssize_t count = PyList_Size(list.ptr());
    signature.push_back(count);
    for (Py_ssize_t i = 0; i < count; ++i) {
      dlpack::View view{};
      const nb::handle object = PyList_GetItem(list.ptr(), i);
      if (!object.is_valid()) throw nb::python_error();
      // What is lent may have been refused the first time: a parameter has its data's address.
      if (!views.of(object, view) || refuses_lending(object)) return false;
      append_view(signature, view);
    }
  }
  return true;
}

std::vector<TensorList> import_lists(const nb::list& lists, const std::vector<Stream>& streams,
                                     bool& borrowed) {
  std::vector<TensorList> result;
  for (std::size_t r = 0; r < lists.size(); ++r) {
    const Stream stream = stream_of(streams, r);
    result.push_back(of_rank("all_reduce", r, [&] { return import_list(lists[r], stream); }));
  }
  for (const TensorList& list : result) {
    for (const Tensor& tensor : list) borrowed = borrowed && tensor.storage()->is_borrowed();
  }
  return result;
}

}  // namespace

bool is_tensor_list(nb::handle object) {
  return PyList_Check(object.ptr()) || PyTuple_Check(object.ptr());
}

TensorList import_list(nb::handle list, Stream consumer) {
  Views views(consumer);
  const std::vector<nb::object> items = items_of(list);
  TensorList tensors;
  tensors.reserve(items.size());
  for (const nb::object& object : items) {
    tensors.push_back(import_place(object, views, consumer));
  }
  return tensors;
}

std::shared_ptr<collectives::Bucket> import_bucket(fabric::Fabric& fabric, const nb::list& tensors,
                                                   const std::optional<nb::list>& out,
                                                   const std::vector<Stream>& streams) {
  static thread_local std::vector<std::int64_t> signature;  // keeps its room
  signature.clear();
  signature.push_back(out.has_value());
  const bool known =
      append_lists(signature, tensors, streams) && (!out || append_lists(signature, *out, streams));
  if (known) {
    if (auto bucket = collectives::known_bucket(fabric, signature)) return bucket;
  }
  bool borrowed = known;
  auto inputs = import_lists(tensors, streams, borrowed);
  auto outputs = out ? import_lists(*out, streams, borrowed) : std::vector<TensorList>();
  const nb::gil_scoped_release released;
  std::vector<Tensor> ins = collectives::by_place(fabric, std::move(inputs));
  std::optional<std::vector<Tensor>> outs;
  if (out) outs = collectives::by_place(fabric, std::move(outputs));
  auto bucket = collectives::make_bucket(fabric, std::move(ins), std::move(outs));
  if (borrowed) collectives::remember_bucket(fabric, signature, bucket);
  return bucket;
}

}  // namespace weft::python
