// The operations under way, oldest first: a ring of fixed room, so that nothing is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>

#include "fabric/operation.h"

namespace weft::fabric {

class InFlight {
 public:
  static constexpr std::size_t kRoom = 512;

  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == kRoom; }
  bool half_full() const { return size_ >= kRoom / 2; }
  std::size_t size() const { return size_; }
  const std::shared_ptr<Operation>& front() const { return ring_[first_]; }
  const std::shared_ptr<Operation>& back() const { return ring_[(first_ + size_ - 1) % kRoom]; }
  void push_back(std::shared_ptr<Operation> operation) {
    ring_[(first_ + size_++) % kRoom] = std::move(operation);
  }
  std::shared_ptr<Operation> pop_front() {
    std::shared_ptr<Operation> oldest = std::move(ring_[first_]);
    first_ = (first_ + 1) % kRoom;
    --size_;
    return oldest;
  }
  void clear() {
    while (!empty()) pop_front();
  }
  // Calls visit(operation) from the oldest on, until it says no; whether it never did.
  template <class Visit>
  bool all_of(const Visit& visit) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (!visit(*ring_[(first_ + i) % kRoom])) return false;
    }
    return true;
  }

 private:
  std::array<std::shared_ptr<Operation>, kRoom> ring_{};
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace weft::fabric
