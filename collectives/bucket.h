// Several tensors a rank that are one operation: a list of pieces of memory, nothing is copied
// together.
//
// To schedules and executors a bucket is one vector, its tensors' elements one after the other.
//
// Invariants
//   1. Tensors stand in the order of their place in the bucket, one a rank: the tensor of place k
//      and rank r is number k * world + r. Those of a place are of one shape, all of one dtype.
//   2. It has been checked when it is made, and never changes: whoever runs it again need not look.
//
// Thread safety: read-only, but for `table`, which belongs to the fabric's launch lock, and
// `is_reachable`.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "collectives/plan.h"
#include "core/tensor/tensor.h"

namespace weft::collectives {

class Bucket {
 public:
  // Of tensors that are contiguous or to be staged; see make_bucket() for the checks. No outputs:
  // in place.
  Bucket(WorldSize world, std::vector<Tensor> inputs, std::optional<std::vector<Tensor>> outputs);

  WorldSize world() const { return WorldSize(static_cast<std::int32_t>(world_)); }
  std::size_t places() const { return begins_.size() - 1; }
  DType dtype() const { return dtype_; }  // float32 where there are no tensors
  std::span<const Tensor> inputs() const { return inputs_; }
  std::span<const Tensor> outputs() const { return outputs_ ? *outputs_ : inputs_; }
  // Where the tensors of each place begin in the vector, and where the last ones end.
  std::span<const std::int64_t> begins() const { return begins_; }
  std::int64_t elements() const { return begins_.back(); }

  // Where an element of a rank's vector lies, and how many from it on lie in the same tensor.
  // `element` is not past the end.
  const std::byte* input_at(int rank, std::int64_t element) const {
    return at(inputs(), rank, element);
  }
  std::byte* output_at(int rank, std::int64_t element) const {
    return at(outputs(), rank, element);
  }
  std::int64_t left_from(std::int64_t element) const {
    return begins_[place_of(element) + 1] - element;
  }

  // Whether every device was found to reach all of it, for as long as it lives (reach.h).
  std::atomic<bool> is_reachable{false};
  // What the CUDA executor's kernels read; made before the first launch.
  std::shared_ptr<void> table;

 private:
  std::size_t place_of(std::int64_t element) const;
  std::byte* at(std::span<const Tensor> tensors, int rank, std::int64_t element) const;

  std::size_t world_;
  DType dtype_ = DType::f32;
  std::vector<Tensor> inputs_;
  std::optional<std::vector<Tensor>> outputs_;
  std::vector<std::int64_t> begins_;
};

}  // namespace weft::collectives
