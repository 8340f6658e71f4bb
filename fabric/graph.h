// Operations that were recorded instead of done, to be run as often as wanted.
//
// Invariants
//   1. A graph keeps what its operations need (parameters, storages) for as long as it lives.
//   2. Replays follow each other and every other operation of the fabric in the order in which they
//      were asked for.
//   3. On CUDA a graph is one device graph a rank; or one for all, if an operation orders devices
//   by
//      events (Operation::joint).
//
// Thread safety: none of its own; Fabric's methods take the launch lock.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device/device.h"
#include "fabric/operation.h"

namespace weft::fabric {

class Graph {
 public:
  Graph(std::vector<Device*> devices, std::uint64_t token)
      : devices_(std::move(devices)), token_(token) {}
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  std::span<const std::shared_ptr<Operation>> operations() const { return operations_; }
  // Microseconds from start to end of the last timed replay, on the slowest device; the replay must
  // have ended. Nothing on devices without timed events.
  std::optional<double> elapsed_us() const;

 private:
  friend class Fabric;

  HomeProcess home_{};
  std::vector<Device*> devices_;  // one a rank
  std::uint64_t token_;           // of the capture
  std::int64_t begun_ns_ = now_ns();
  std::vector<std::shared_ptr<Operation>> operations_;
  bool joint_ = false;
  std::vector<DeviceGraph> graphs_;  // one a rank; joint: one
  std::vector<Event> edges_;         // joint: one a rank, for fork and join
  std::vector<Event> starts_;        // timed, one a rank
  std::vector<Event> ends_;
};

}  // namespace weft::fabric
