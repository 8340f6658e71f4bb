#include "collectives/executor/cuda/reach.h"

#include <algorithm>
#include <atomic>

#include "collectives/bucket.h"

namespace weft::collectives {

Reach::Range Reach::range_of(const Tensor& tensor) {
  const auto* begin = static_cast<const std::byte*>(tensor.data());
  return {begin, begin + tensor.bytes().value()};
}

std::optional<std::string> Reach::problem(fabric::Fabric& fabric, const Request& request) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    const auto index = static_cast<std::size_t>(r);
    Range found;  // in place both are the same
    for (const Tensor* tensor : {&request.inputs[index], &request.outputs[index]}) {
      if (!tensor->defined() || tensor->bytes().value() == 0) continue;
      if (found.holds(range_of(*tensor))) continue;
      if (auto why = problem(fabric, Rank(r), *tensor, found)) return why;
    }
  }
  return std::nullopt;
}

std::optional<std::string> Reach::problem(fabric::Fabric& fabric, Bucket& bucket) {
  if (bucket.is_reachable.load(std::memory_order_relaxed)) return std::nullopt;
  const auto world = static_cast<std::size_t>(bucket.world().value());
  bool stays = true;
  for (const auto tensors : {bucket.inputs(), bucket.outputs()}) {
    for (std::size_t r = 0; r < world; ++r) {
      Range found;  // neighbours in a bucket are often neighbours in memory
      for (std::size_t i = r; i < tensors.size(); i += world) {
        const Range range = range_of(tensors[i]);
        if (range.begin == range.end || found.holds(range)) continue;
        const Rank owner(static_cast<std::int32_t>(r));
        if (auto why = problem(fabric, owner, tensors[i], found)) return why;
        stays = stays && found.stays;
      }
    }
    if (bucket.inputs().data() == bucket.outputs().data()) break;
  }
  bucket.is_reachable.store(stays, std::memory_order_relaxed);
  return std::nullopt;
}

std::optional<std::string> Reach::problem(fabric::Fabric& fabric, Rank owner, const Tensor& tensor,
                                          Range& found) {
  const Range range = range_of(tensor);
  {
    const MutexLock lock(mutex_);
    auto after = reachable_.upper_bound(range.begin);
    if (after != reachable_.begin() && std::prev(after)->second >= range.end) {
      found = {std::prev(after)->first, std::prev(after)->second};
      return std::nullopt;
    }
  }
  for (int r = 0; r < fabric.world().value(); ++r) {
    Device& device = fabric.device(Rank(r));
    if (device.id() == fabric.device(owner).id()) continue;
    if (const auto why = device.make_reachable(range.begin, tensor.bytes())) {
      return concat(device.id().str(), " cannot reach the memory of rank ", owner, ": ", *why);
    }
  }
  const auto [whole, stays] = fabric.device(owner).allocation_of(range.begin);
  found = {whole.data(), whole.data() + whole.size(), stays};
  if (!found.holds(range)) found = {range.begin, range.end, stays};
  if (!stays) return std::nullopt;
  const MutexLock lock(mutex_);
  if (reachable_.size() >= kMost) reachable_.clear();
  const std::byte*& known = reachable_[found.begin];
  known = known ? std::max(known, found.end) : found.end;
  return std::nullopt;
}

}  // namespace weft::collectives
