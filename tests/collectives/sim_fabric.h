// What the protocol tests share: a simulated fabric, vectors with exactly predictable sums, leak
// counts.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "collectives/collectives.h"
#include "core/base/clock.h"
#include "core/device/sim/sim_device.h"

namespace weft::testing {

using collectives::ReduceOp;
using fabric::Fabric;

inline DeviceId sim(int ordinal) { return {DeviceKind::sim, DeviceOrdinal(ordinal)}; }

inline fabric::FabricOptions sim_options(int ranks, double timeout_seconds = 30) {
  fabric::FabricOptions options;
  for (int r = 0; r < ranks; ++r) options.devices.push_back(&device(sim(r)));
  options.topology = topology::preset("hgx-h200", ranks);
  options.timeout_seconds = timeout_seconds;
  return options;
}

inline std::shared_ptr<Fabric> open_sim(int ranks, double timeout_seconds = 30) {
  return collectives::open(sim_options(ranks, timeout_seconds));
}

// One float32 vector a rank; small integers, so that every sum is exact.
class Vectors {
 public:
  Vectors(int ranks, std::int64_t length, std::uint32_t seed) : seed_(seed) {
    const std::int64_t sizes[] = {length};
    for (int r = 0; r < ranks; ++r) {
      tensors.push_back(Tensor::empty(sizes, DType::f32, sim(r)));
      for (std::int64_t i = 0; i < length; ++i) data(r)[i] = value(r, i);
    }
  }
  float* data(int rank) {
    return static_cast<float*>(tensors[static_cast<std::size_t>(rank)].data());
  }
  float value(int rank, std::int64_t i) const {
    const auto mixed = static_cast<std::uint32_t>(i) * 2654435761u +
                       static_cast<std::uint32_t>(rank) * 40503u + seed_;
    return static_cast<float>(mixed >> 20);
  }
  // Elements that are not the sum of all ranks'.
  std::int64_t wrong() {
    const int ranks = static_cast<int>(tensors.size());
    const std::int64_t length = tensors.front().layout().elements();
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < length; ++i) {
      float sum = 0;
      for (int r = 0; r < ranks; ++r) sum += value(r, i);
      for (int r = 0; r < ranks; ++r) count += data(r)[i] != sum;
    }
    return count;
  }

  std::vector<Tensor> tensors;

 private:
  std::uint32_t seed_;
};

inline Deadline soon() { return Deadline::after_ns(60'000'000'000); }

// Sums in place and waits; the operation's error, if it had one. `timeout`: seconds, 0 for the
// fabric's.
inline std::optional<Error> sum_in_place(
    Fabric& fabric, Vectors& vectors, double timeout = 0,
    collectives::Algorithm algorithm = collectives::Algorithm::ring) {
  collectives::CallOptions options;
  options.algorithm = algorithm;
  options.timeout_ns = seconds_to_ns(timeout);
  const auto operation =
      collectives::all_reduce(fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, options);
  if (!operation->wait_until(soon()))
    return Error(ErrorCode::internal, "the operation did not end");
  return operation->error();
}

}  // namespace weft::testing
