// What takes its turn in the benchmark of eager calls: weft and NCCL, all_reduce of float32 on all
// ranks, each with vectors and streams of its own, on which nothing else is.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/cuda/record.h"
#include "bench/cuda/timing.h"
#include "core/device/device.h"
#include "core/tensor/tensor.h"
#include "fabric/fabric.h"

namespace weft::bench {

// An input and an output of every rank; in place they are the same.
class Vectors {
 public:
  Vectors(const fabric::Fabric& fabric, std::size_t bytes, bool in_place);

  std::span<const Tensor> inputs() const { return inputs_; }
  std::span<const Tensor> outputs() const { return in_place_ ? inputs_ : outputs_; }
  std::size_t elements() const { return elements_; }

  void fill();   // inputs whose sums are known; outputs that are not those sums
  void clear();  // all zero: in place, sums of sums stay what they are
  std::size_t wrong(bool cleared) const;  // elements of all outputs, after fill() or clear()

 private:
  bool in_place_;
  std::size_t elements_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
};

// One implementation on vectors of its own.
struct Contender {
  std::shared_ptr<Vectors> vectors;
  std::function<void()> call;  // one operation on all ranks; returns when it is enqueued
  std::function<void()> wait;  // until all ranks have done all of them; CollectiveTimeout
  EagerRow row;                // without times
};

// A fabric, and NCCL beside it.
class EagerRig {
 public:
  // nccl: the library; nothing: without.
  EagerRig(const std::vector<DeviceId>& devices, const std::optional<std::string>& nccl,
           double timeout);
  ~EagerRig();
  EagerRig(const EagerRig&) = delete;
  EagerRig& operator=(const EagerRig&) = delete;

  // weft, and NCCL if it is there. They must go before the rig.
  std::vector<Contender> contenders(std::size_t bytes, bool in_place);
  std::string nccl_version() const { return nccl_ ? nccl_->version() : ""; }

 private:
  void make_streams();
  Contender ours(std::size_t bytes, bool in_place);
  Contender theirs(std::size_t bytes, bool in_place);
  void wait_for_theirs();

  std::int64_t timeout_ns_;
  std::shared_ptr<fabric::Fabric> fabric_;
  std::vector<Stream> ours_;    // one a rank; none on simulated devices
  std::vector<Stream> theirs_;  // NCCL's, and an event for the end of each
  std::vector<Event> ended_;
  std::optional<Nccl> nccl_;
};

}  // namespace weft::bench
