// Reference-counted memory that tensors view.
//
// Invariants
//   1. A Storage owns its bytes through a drop function; the memory lives as long as any view.
//   2. The drop function holds no Python object and may run on any thread.
//   3. version() counts writes made through weft, for autograd; it is shared by all views.
//
// Thread safety: counting is atomic; the bytes are the user's to order.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/base/types.h"
#include "core/device/device.h"

namespace weft {

class Storage {
 public:
  using Drop = void (*)(void* context) noexcept;

  // Memory of a process-wide device, uninitialised. Throws OutOfMemory, SizeOverflow.
  static std::shared_ptr<Storage> allocate(DeviceId device, Bytes bytes);
  // Memory that somebody else made: drop(context) is called once, when the last view is gone. A
  // null drop borrows: the caller keeps the memory alive.
  static std::shared_ptr<Storage> adopt(DeviceId device, void* data, Bytes bytes, bool read_only,
                                        Drop drop, void* context);

  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  DeviceId device() const { return device_; }
  void* data() const { return data_; }
  Bytes bytes() const { return bytes_; }
  bool read_only() const { return read_only_; }
  bool is_borrowed() const { return drop_ == nullptr; }  // somebody else keeps the memory alive
  std::uint64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  Storage(DeviceId device, void* data, Bytes bytes, bool read_only, Drop drop, void* context)
      : device_(device),
        data_(data),
        bytes_(bytes),
        read_only_(read_only),
        drop_(drop),
        context_(context) {}

  DeviceId device_;
  void* data_;
  Bytes bytes_;
  bool read_only_;
  Drop drop_;
  void* context_;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace weft
