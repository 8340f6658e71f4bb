#include "core/memory/storage.h"

#include <new>

#include "core/base/error.h"

namespace weft {
namespace {

// The context is the Storage itself: it knows the device and the memory, so nothing more is
// allocated.
void give_back(void* context) noexcept {
  auto* storage = static_cast<Storage*>(context);
  device(storage->device()).deallocate(storage->data());
}

}  // namespace

std::shared_ptr<Storage> Storage::allocate(DeviceId id, Bytes bytes) {
  if (bytes.value() < 0) {
    fail(ErrorCode::size_overflow, "a storage of ", bytes, " bytes cannot be");
  }
  std::shared_ptr<Storage> storage(new Storage(id, nullptr, bytes, false, nullptr, nullptr));
  storage->data_ = weft::device(id).allocate(bytes);
  storage->context_ = storage.get();
  storage->drop_ = give_back;
  return storage;
}

std::shared_ptr<Storage> Storage::adopt(DeviceId id, void* data, Bytes bytes, bool read_only,
                                        Drop drop, void* context) {
  Storage* storage = nullptr;
  try {
    if (bytes.value() < 0) {
      fail(ErrorCode::size_overflow, "a storage of ", bytes, " bytes cannot be");
    }
    storage = new Storage(id, data, bytes, read_only, drop, context);
  } catch (...) {
    if (drop) drop(context);
    throw;
  }
  // Should the control block not fit, shared_ptr deletes the storage, which drops the memory.
  return std::shared_ptr<Storage>(storage);
}

Storage::~Storage() {
  if (drop_) drop_(context_);
}

}  // namespace weft
