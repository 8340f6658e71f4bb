// A tensor: a typed, shaped view of a Storage. Copying one copies the view, not the elements.
//
// Invariants
//   1. Every element of the layout lies inside the storage.
//   2. `autograd` is opaque here: a pointer and a drop function, so that this folder never includes
//      autograd. It is shared by copies of the tensor, not by views.
#pragma once

#include <memory>
#include <span>

#include "core/memory/storage.h"
#include "core/tensor/dtype.h"
#include "core/tensor/layout.h"

namespace weft {

struct AutogradSlot {
  void* state = nullptr;
  void (*drop)(void*) noexcept = nullptr;
  AutogradSlot() = default;
  AutogradSlot(const AutogradSlot&) = delete;
  AutogradSlot& operator=(const AutogradSlot&) = delete;
  ~AutogradSlot() {
    if (drop) drop(state);
  }
};

class Tensor {
 public:
  Tensor() = default;
  // Throws InvalidArgument when the layout leaves the storage.
  Tensor(std::shared_ptr<Storage> storage, DType dtype, Layout layout, std::int64_t offset = 0);
  // Uninitialised and contiguous.
  static Tensor empty(std::span<const std::int64_t> sizes, DType dtype, DeviceId device);

  bool defined() const { return storage_ != nullptr; }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  DeviceId device() const { return storage_->device(); }
  DType dtype() const { return dtype_; }
  const Layout& layout() const { return layout_; }
  std::int64_t offset() const { return offset_; }  // elements from the storage's start
  bool read_only() const { return storage_->read_only(); }
  Bytes bytes() const { return Bytes(layout_.elements() * item_bytes(dtype_)); }

  // The first element (index 0 in every dimension).
  void* data() const {
    return static_cast<std::byte*>(storage_->data()) + offset_ * item_bytes(dtype_);
  }
  // The bytes the view touches, lowest to one past the highest: what overlap checks compare.
  std::span<std::byte> touched() const;

  std::shared_ptr<AutogradSlot>& autograd() { return autograd_; }

 private:
  std::shared_ptr<Storage> storage_;
  DType dtype_ = DType::f32;
  Layout layout_;
  std::int64_t offset_ = 0;
  std::shared_ptr<AutogradSlot> autograd_;
};

}  // namespace weft
