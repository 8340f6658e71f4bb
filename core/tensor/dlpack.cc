#include "core/tensor/dlpack.h"

#include <memory>
#include <optional>
#include <vector>

#include "core/base/error.h"

namespace weft::dlpack {
namespace {

template <class Struct>
void delete_managed(void* context) noexcept {
  auto* managed = static_cast<Struct*>(context);
  if (managed->deleter) managed->deleter(managed);
}

struct CallDeleter {
  Storage::Drop drop = nullptr;
  void operator()(void* managed) const noexcept { drop(managed); }
};
using Owner = std::unique_ptr<void, CallDeleter>;

DType import_dtype(DataType type) {
  if (type.lanes != 1) {
    fail(ErrorCode::dtype_mismatch, "vector elements (", type.lanes, " lanes) are not supported");
  }
  const auto is = [&](TypeCode code, int bits) { return type.code == code && type.bits == bits; };
  if (is(kBool, 8)) return DType::bool_;
  if (is(kUInt, 8)) return DType::u8;
  if (is(kInt, 8)) return DType::i8;
  if (is(kInt, 16)) return DType::i16;
  if (is(kInt, 32)) return DType::i32;
  if (is(kInt, 64)) return DType::i64;
  if (is(kFloat8E4m3fn, 8)) return DType::f8_e4m3fn;
  if (is(kFloat8E5m2, 8)) return DType::f8_e5m2;
  if (is(kFloat, 16)) return DType::f16;
  if (is(kBfloat, 16)) return DType::bf16;
  if (is(kFloat, 32)) return DType::f32;
  if (is(kFloat, 64)) return DType::f64;
  fail(ErrorCode::dtype_mismatch,
       type.code == kComplex ? "complex elements are not supported" : "elements that weft has not",
       " (DLPack code ", int{type.code}, ", ", int{type.bits}, " bits)");
}

DataType export_dtype(DType dtype) {
  const auto bits = static_cast<std::uint8_t>(8 * item_bytes(dtype));
  switch (dtype) {
    case DType::bool_:
      return {kBool, bits, 1};
    case DType::u8:
      return {kUInt, bits, 1};
    case DType::f8_e4m3fn:
      return {kFloat8E4m3fn, bits, 1};
    case DType::f8_e5m2:
      return {kFloat8E5m2, bits, 1};
    case DType::bf16:
      return {kBfloat, bits, 1};
    default:
      return {is_floating(dtype) ? kFloat : kInt, bits, 1};
  }
}

DeviceId import_device(const View& view) {
  if (view.device_id >= 0) {
    if (view.device_type == kCpu || view.device_type == kCudaHost) return DeviceId{};
    if (view.device_type == kCuda && view.device_id < device_count(DeviceKind::cuda)) {
      return {DeviceKind::cuda, DeviceOrdinal(view.device_id)};
    }
  }
  fail(ErrorCode::invalid_argument, "there is no DLPack device (", view.device_type, ", ",
       view.device_id, "): weft reads host (1), pinned (3) and its ",
       device_count(DeviceKind::cuda), " CUDA (2) devices");
}

Layout import_layout(const View& view) {
  if (view.ndim < 0 || view.ndim > kMaxDims) {
    fail(ErrorCode::invalid_argument, view.ndim, " dimensions: 0 to ", kMaxDims, " are possible");
  }
  if (view.ndim > 0 && !view.shape) fail(ErrorCode::invalid_argument, "the shape is null");
  const auto dims = static_cast<std::size_t>(view.ndim);
  const std::span<const std::int64_t> sizes(view.shape, dims);
  if (!view.strides) return Layout::contiguous(sizes);
  return Layout::strided(sizes, {view.strides, dims});
}

// The bytes that the layout touches, all of which have addresses.
struct Span {
  std::byte* data = nullptr;
  std::int64_t bytes = 0;
  std::int64_t offset = 0;  // of the first element, in elements
};

Span import_span(const View& view, DType dtype, const Layout& layout) {
  if (layout.elements() == 0) return {};
  if (!view.data) {
    fail(ErrorCode::invalid_argument, "the data of ", layout.elements(), " elements is null");
  }
  const std::int64_t item = item_bytes(dtype);
  const Layout::Extent extent = layout.extent();
  const auto address = reinterpret_cast<std::uintptr_t>(view.data);
  std::int64_t low = 0;
  std::int64_t bytes = 0;
  std::uintptr_t first = 0;
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  if (__builtin_mul_overflow(extent.low, item, &low) ||
      __builtin_mul_overflow(extent.high - extent.low, item, &bytes) ||
      __builtin_add_overflow(address, view.byte_offset, &first) ||
      __builtin_add_overflow(first, low, &begin) || __builtin_add_overflow(begin, bytes, &end) ||
      begin == 0) {  // the null address is no memory's
    fail(ErrorCode::size_overflow, "shape ", layout.str(), " at byte offset ", view.byte_offset,
         " leaves the address space");
  }
  if (first % static_cast<std::uintptr_t>(item) != 0) {
    fail(ErrorCode::invalid_argument, "the data is not aligned to its ", item, "-byte elements");
  }
  return {reinterpret_cast<std::byte*>(begin), bytes, -extent.low};
}

Tensor import_view(const View& view, bool read_only, Owner owner, Storage::Drop drop) {
  const DType dtype = import_dtype(view.dtype);
  const DeviceId device = import_device(view);
  Layout layout = import_layout(view);
  const Span span = import_span(view, dtype, layout);
  std::shared_ptr<Storage> storage =
      Storage::adopt(device, span.data, Bytes(span.bytes), read_only, drop, owner.release());
  return Tensor(std::move(storage), dtype, std::move(layout), span.offset);
}

// What an exported struct owns: the view, and its shape and strides as one array.
template <class Struct>
struct Exported {
  Tensor tensor;
  std::vector<std::int64_t> numbers;
  Struct managed{};
};

template <class Struct>
Struct* export_tensor(const Tensor& tensor) {
  auto exported = std::make_unique<Exported<Struct>>();
  exported->tensor = tensor;
  exported->tensor.autograd().reset();  // memory is lent, not its history
  const Layout& layout = tensor.layout();
  exported->numbers.assign(layout.sizes().begin(), layout.sizes().end());
  exported->numbers.insert(exported->numbers.end(), layout.strides().begin(),
                           layout.strides().end());
  const auto [device_type, device_id] = dlpack_device(tensor);
  // Never null shapes, not even for 0 dimensions: some readers do not look at ndim first.
  exported->numbers.reserve(1);
  std::int64_t* numbers = exported->numbers.data();
  exported->managed.view = {tensor.data(),
                            device_type,
                            device_id,
                            layout.dims(),
                            export_dtype(tensor.dtype()),
                            numbers,
                            numbers + layout.dims(),
                            0};
  exported->managed.context = exported.get();
  exported->managed.deleter = [](Struct* self) {
    delete static_cast<Exported<Struct>*>(self->context);
  };
  return &exported.release()->managed;
}

}  // namespace

Tensor from_dlpack(ManagedVersioned* managed) {
  if (!managed) fail(ErrorCode::invalid_argument, "the DLPack struct is null");
  constexpr Storage::Drop kDrop = delete_managed<ManagedVersioned>;
  Owner owner(managed, {kDrop});
  // Every version begins with the fields up to the deleter; a foreign one is not read further.
  if (managed->major != kMajorVersion) {
    fail(ErrorCode::invalid_argument, "DLPack version ", managed->major, ".", managed->minor,
         " is not readable: weft reads ", kMajorVersion, ".x");
  }
  const bool read_only = (managed->flags & kReadOnlyFlag) != 0;
  return import_view(managed->view, read_only, std::move(owner), kDrop);
}

Tensor borrow(const View& view) { return import_view(view, false, Owner(nullptr), nullptr); }

Tensor from_dlpack(Managed* managed) {
  if (!managed) fail(ErrorCode::invalid_argument, "the DLPack struct is null");
  constexpr Storage::Drop kDrop = delete_managed<Managed>;
  return import_view(managed->view, false, Owner(managed, {kDrop}), kDrop);
}

ManagedVersioned* to_dlpack_versioned(const Tensor& tensor, bool copied) {
  ManagedVersioned* managed = export_tensor<ManagedVersioned>(tensor);
  managed->major = kMajorVersion;
  managed->minor = kMinorVersion;
  managed->flags = (tensor.read_only() ? kReadOnlyFlag : 0) | (copied ? kCopiedFlag : 0);
  return managed;
}

Managed* to_dlpack(const Tensor& tensor) {
  if (tensor.read_only()) {
    fail(ErrorCode::read_only_buffer,
         "a read-only tensor can only be exported by DLPack 1.0 or later: ask with max_version");
  }
  return export_tensor<Managed>(tensor);
}

std::pair<std::int32_t, std::int32_t> dlpack_device(const Tensor& tensor) {
  if (tensor.device().kind == DeviceKind::cuda) return {kCuda, tensor.device().ordinal.value()};
  return {kCpu, 0};
}

}  // namespace weft::dlpack
