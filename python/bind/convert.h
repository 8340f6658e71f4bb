// Python objects as weft values: tensors, dtypes, devices, shapes.
//
// Invariants
//   1. Nothing is copied: an imported tensor is the memory of the object that was given.
//   2. No deleter made here holds a Python object. Memory of a NumPy array is borrowed: who imports
//      it keeps the array alive. Memory taken by DLPack is owned, by the producer's own deleter.
//   3. Every refusal is a weft::Error; what foreign code raises passes through unchanged.
//
// Thread safety: the GIL is held by every caller.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/base/types.h"
#include "core/tensor/tensor.h"
#include "python/bind/bind.h"

namespace weft::python {

// What Python sees of a DType.
struct DTypeObject {
  DType value;
};

inline constexpr std::int64_t kNoOrdering = -1;  // __dlpack__'s stream: nothing has to wait

// Whether memory that is not aligned to its elements is refused (InvalidArgument), or left to
// whoever stages it.
enum class Alignment { needed, any };

// A weft Tensor, a NumPy array, or anything with __dlpack__, as a tensor over the same memory. CUDA
// memory is made ready for `consumer_stream`: a cudaStream_t as a number, 0 the legacy default
// stream, kNoOrdering. Throws DTypeMismatch for elements weft has not, InvalidArgument or
// SizeOverflow otherwise.
Tensor import_tensor(nb::handle object, std::int64_t consumer_stream,
                     Alignment alignment = Alignment::needed);

// A tensor that owns a share of the memory of any object with __dlpack__, or of a capsule.
Tensor import_dlpack(nb::handle object, std::int64_t consumer_stream);
// A capsule that owns a view of the tensor, "dltensor_versioned" or "dltensor". Copied: says the
// flag.
nb::object export_dlpack(const Tensor& tensor, bool versioned, bool copied);

// For messages: str(), repr() and the type's name; never throws for what they cannot be turned
// into.
std::string text_of(nb::handle object);
std::string repr_of(nb::handle object);
std::string name_of_type(nb::handle object);

bool is_numpy_array(nb::handle object);

// Elements that NumPy knows by the package ml_dtypes alone, where they have the same name.
constexpr bool needs_ml_dtypes(DType dtype) { return is_float8(dtype) || dtype == DType::bf16; }
// The dtype of an array of these; of any other, nothing.
std::optional<DType> ml_dtype(nb::handle array);

// weft.float32, "float32", numpy.float32 or a numpy.dtype. Throws DTypeMismatch.
DType parse_dtype(nb::handle object);
std::string known_dtypes();            // their names, for messages
nb::object dtype_object(DType dtype);  // always the same object for one dtype
// A weft.Device or its name; None is the host. Throws InvalidArgument.
DeviceId parse_device(nb::handle object);
// Anything with __index__; `what` begins the message. Throws InvalidArgument, SizeOverflow.
std::int64_t parse_integer(nb::handle object, const char* what);
// Sizes: a sequence of integers, or one. Throws InvalidArgument, SizeOverflow.
std::vector<std::int64_t> parse_sizes(nb::handle object);
// The same of arguments: zeros(2, 3) or zeros((2, 3)).
std::vector<std::int64_t> parse_size_arguments(const nb::args& size);
nb::object numbers_tuple(std::span<const std::int64_t> numbers);

// f() for a rank of a collective: its errors say which.
template <class F>
auto of_rank(const std::string& collective, std::size_t rank, const F& f) {
  try {
    return f();
  } catch (const Error& error) {
    ErrorContext context = error.context();
    context.rank = static_cast<int>(rank);
    throw Error(error.code(), concat(collective, ": rank ", rank, ": ", error.message()),
                std::move(context));
  }
}

// Runs f without the GIL where it moves more than 64 KiB.
template <class F>
void without_gil(Bytes bytes, F&& f) {
  if (bytes.value() <= 64 * 1024) return std::forward<F>(f)();
  const nb::gil_scoped_release release;
  std::forward<F>(f)();
}

}  // namespace weft::python
