// Move-only owner of a handle. Destroy is a stateless or small callable that must not throw.
#pragma once

#include <utility>

namespace weft {

template <class Handle, class Destroy>
class Unique {
 public:
  Unique() = default;
  Unique(Handle handle, Destroy destroy) : handle_(handle), destroy_(destroy), owned_(true) {}
  Unique(Unique&& other) noexcept
      : handle_(other.handle_),
        destroy_(std::move(other.destroy_)),
        owned_(std::exchange(other.owned_, false)) {}
  Unique& operator=(Unique&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = other.handle_;
      destroy_ = std::move(other.destroy_);
      owned_ = std::exchange(other.owned_, false);
    }
    return *this;
  }
  Unique(const Unique&) = delete;
  Unique& operator=(const Unique&) = delete;
  ~Unique() { reset(); }

  Handle get() const { return handle_; }
  explicit operator bool() const { return owned_; }
  void reset() noexcept {
    if (std::exchange(owned_, false)) destroy_(handle_);
  }

 private:
  Handle handle_{};
  Destroy destroy_{};
  bool owned_ = false;
};

}  // namespace weft
