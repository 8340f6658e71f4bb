#include "collectives/executor/cuda/reach.h"

#include <algorithm>

namespace weft::collectives {

std::optional<std::string> Reach::problem(fabric::Fabric& fabric, const Request& request) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    const auto index = static_cast<std::size_t>(r);
    for (const Tensor* tensor : {&request.inputs[index], &request.outputs[index]}) {
      if (!tensor->defined() || tensor->bytes().value() == 0) continue;
      if (auto found = problem(fabric, Rank(r), *tensor)) return found;
    }
  }
  return std::nullopt;
}

std::optional<std::string> Reach::problem(fabric::Fabric& fabric, Rank owner,
                                          const Tensor& tensor) {
  const auto* begin = static_cast<const std::byte*>(tensor.data());
  const std::byte* end = begin + tensor.bytes().value();
  {
    const MutexLock lock(mutex_);
    auto after = reachable_.upper_bound(begin);
    if (after != reachable_.begin() && std::prev(after)->second >= end) return std::nullopt;
  }
  for (int r = 0; r < fabric.world().value(); ++r) {
    Device& device = fabric.device(Rank(r));
    if (device.id() == fabric.device(owner).id()) continue;
    if (const auto why = device.make_reachable(begin, tensor.bytes())) {
      return concat(device.id().str(), " cannot reach the memory of rank ", owner, ": ", *why);
    }
  }
  const MutexLock lock(mutex_);
  if (reachable_.size() >= kMost) reachable_.clear();
  const std::byte*& known = reachable_[begin];
  known = known ? std::max(known, end) : end;
  return std::nullopt;
}

}  // namespace weft::collectives
