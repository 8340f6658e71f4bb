// Tensors in and out as DLPack structs, versions 0 (legacy) and 1.
//
// Invariants
//   1. from_dlpack owns what it is given from the first instruction on: the producer's deleter is
//      called exactly once, when the import fails at any step or when the last view of the memory
//      is gone.
//   2. Nothing in an imported struct is trusted: sizes, strides and addresses are checked before
//      use, and the data is never read.
//   3. An exported struct holds a Tensor and arrays, nothing of Python: its deleter may run on any
//      thread, without the GIL, after the interpreter is gone.
//   4. Host and simulated memory are both DLPack CPU; what comes back is on "cpu".
//
// Thread safety: functions of their arguments. The struct layouts are those of the DLPack standard.
#pragma once

#include <cstdint>
#include <utility>

#include "core/tensor/tensor.h"

namespace weft::dlpack {

inline constexpr std::uint32_t kMajorVersion = 1;
inline constexpr std::uint32_t kMinorVersion = 1;  // the first that knows fp8

inline constexpr std::int32_t kCpu = 1;
inline constexpr std::int32_t kCuda = 2;
inline constexpr std::int32_t kCudaHost = 3;

inline constexpr std::uint64_t kReadOnlyFlag = 1;
inline constexpr std::uint64_t kCopiedFlag = 2;

enum TypeCode : std::uint8_t {
  kInt,
  kUInt,
  kFloat,
  kOpaque,
  kBfloat,
  kComplex,
  kBool,
  kFloat8E4m3fn = 10,
  kFloat8E5m2 = 12
};

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct View {
  void* data;
  std::int32_t device_type;
  std::int32_t device_id;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // null: row-major
  std::uint64_t byte_offset;
};

struct Managed {
  View view;
  void* context;
  void (*deleter)(Managed* self);
};

struct ManagedVersioned {
  std::uint32_t major;
  std::uint32_t minor;
  void* context;
  void (*deleter)(ManagedVersioned* self);
  std::uint64_t flags;
  View view;
};

static_assert(sizeof(View) == 48 && sizeof(Managed) == 64 && sizeof(ManagedVersioned) == 80);

// DTypeMismatch for an element type weft has not (complex, other fp8, 16-bit unsigned, lanes);
// SizeOverflow for a span that no address space holds; InvalidArgument for everything else that is
// wrong.
Tensor from_dlpack(ManagedVersioned* managed);
// Over memory that the caller keeps alive.
Tensor borrow(const View& view);
Tensor from_dlpack(Managed* managed);  // the legacy struct cannot say that memory is read-only

// A struct that owns a view of the tensor; whoever takes it calls its deleter.
ManagedVersioned* to_dlpack_versioned(const Tensor& tensor, bool copied = false);
// The legacy form. Throws ReadOnlyBuffer for a read-only tensor.
Managed* to_dlpack(const Tensor& tensor);

// (device type, device id) that an export of the tensor carries.
std::pair<std::int32_t, std::int32_t> dlpack_device(const Tensor& tensor);

}  // namespace weft::dlpack
