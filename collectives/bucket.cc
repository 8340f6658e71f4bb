#include "collectives/bucket.h"

#include <algorithm>

#include "collectives/collectives.h"
#include "collectives/request.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

constexpr std::size_t kKnownBuckets = 8;

bool same_numbers(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

}  // namespace

Bucket::Bucket(WorldSize world, std::vector<Tensor> inputs,
               std::optional<std::vector<Tensor>> outputs)
    : world_(static_cast<std::size_t>(world.value())),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)) {
  if (!inputs_.empty()) dtype_ = inputs_.front().dtype();
  begins_.reserve(inputs_.size() / world_ + 1);
  begins_.push_back(0);
  std::int64_t end = 0;
  for (std::size_t i = 0; i < inputs_.size(); i += world_) {
    if (__builtin_add_overflow(end, inputs_[i].layout().elements(), &end)) {
      fail(ErrorCode::size_overflow, "a bucket of more than 2^63 - 1 elements");
    }
    begins_.push_back(end);
  }
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(end, item_bytes(dtype_), &bytes)) {
    fail(ErrorCode::size_overflow, "a bucket of more than 2^63 - 1 bytes");
  }
}

// The last place that begins there or before: empty tensors come before the one that has it.
std::size_t Bucket::place_of(std::int64_t element) const {
  const auto after = std::upper_bound(begins_.begin(), begins_.end(), element);
  return static_cast<std::size_t>(after - begins_.begin()) - 1;
}

std::byte* Bucket::at(std::span<const Tensor> tensors, int rank, std::int64_t element) const {
  const std::size_t place = place_of(element);
  const Tensor& tensor = tensors[place * world_ + static_cast<std::size_t>(rank)];
  return static_cast<std::byte*>(tensor.data()) + (element - begins_[place]) * item_bytes(dtype_);
}

std::shared_ptr<Bucket> make_bucket(const fabric::Fabric& fabric, std::vector<Tensor> inputs,
                                    std::optional<std::vector<Tensor>> outputs) {
  fabric.check_usable();
  validate_bucket(fabric, inputs, outputs ? *outputs : inputs);
  return std::make_shared<Bucket>(fabric.world(), std::move(inputs), std::move(outputs));
}

std::vector<Tensor> by_place(const fabric::Fabric& fabric, std::vector<TensorList> lists) {
  const auto world = static_cast<std::size_t>(fabric.world().value());
  if (lists.size() != world) {
    fail(ErrorCode::world_size, "all_reduce: ", lists.size(), " lists of tensors for a fabric of ",
         world, " ranks; give one a rank");
  }
  const std::size_t places = lists.front().size();
  for (std::size_t r = 1; r < world; ++r) {
    if (lists[r].size() == places) continue;
    throw Error(ErrorCode::shape_mismatch,
                concat("all_reduce: rank ", r, "'s bucket has ", lists[r].size(),
                       " tensors, rank 0's has ", places),
                {.rank = static_cast<int>(r)});
  }
  std::vector<Tensor> tensors;
  tensors.reserve(places * world);
  for (std::size_t k = 0; k < places; ++k) {
    for (TensorList& list : lists) tensors.push_back(std::move(list[k]));
  }
  return tensors;
}

std::shared_ptr<Bucket> known_bucket(fabric::Fabric& fabric,
                                     std::span<const std::int64_t> signature) {
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  for (const Session::KnownBucket& known : s.buckets) {
    if (same_numbers(known.signature, signature)) return known.bucket;
  }
  return nullptr;
}

void remember_bucket(fabric::Fabric& fabric, std::span<const std::int64_t> signature,
                     std::shared_ptr<Bucket> bucket) {
  Session& s = session(fabric);
  Session::KnownBucket oldest;  // let go of without the lock
  const std::scoped_lock lock(s.mutex);
  if (s.buckets.size() == kKnownBuckets) {
    oldest = std::move(s.buckets.back());
    s.buckets.pop_back();
  }
  s.buckets.insert(s.buckets.begin(), {{signature.begin(), signature.end()}, std::move(bucket)});
}

}  // namespace weft::collectives
