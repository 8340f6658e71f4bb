// Sees to it that every device of a fabric can reach its users' memory. What cudaMalloc gives is
// mapped for all peers. Memory of pools and of virtual memory management is not, and touching it
// from a peer would be an illegal access: it is opened to the fabric's devices when it is first
// met.
//
// What was found reachable is remembered, by address, with all of the allocation it lies in, if
// that stays what it is until it is freed (cudaMalloc's). What is mapped at an address may change
// under a tensor's owner (PyTorch's expandable segments), and pools share out theirs anew: such
// memory is looked at by every operation. Memory of cudaMalloc that was freed meanwhile and came
// back as memory of another kind at the same address is not noticed.
//
// Thread safety: all of it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "collectives/request.h"
#include "core/base/mutex.h"
#include "fabric/fabric.h"

namespace weft::collectives {

class Reach {
 public:
  Reach() = default;
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;

  // Opens what it can. Why some device cannot reach some rank's tensor; nothing if all can.
  std::optional<std::string> problem(fabric::Fabric& fabric, const Request& request);
  // The same of a bucket, which is looked at once, if all of its memory stays.
  std::optional<std::string> problem(fabric::Fabric& fabric, Bucket& bucket);

 private:
  static constexpr std::size_t kMost = 4096;  // remembered; then all are forgotten

  struct Range {
    const std::byte* begin = nullptr;
    const std::byte* end = nullptr;
    bool stays = true;  // see Allocation
    bool holds(const Range& other) const { return begin <= other.begin && other.end <= end; }
  };
  static Range range_of(const Tensor& tensor);
  // `found` becomes what holds the tensor, and is reachable.
  std::optional<std::string> problem(fabric::Fabric& fabric, Rank owner, const Tensor& tensor,
                                     Range& found);

  Mutex mutex_;
  // From the first byte on: one past the last.
  std::map<const std::byte*, const std::byte*> reachable_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

}  // namespace weft::collectives
