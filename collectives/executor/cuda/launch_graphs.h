// Kernels launched as graphs of one node each, updated and launched again, which costs the host
// about half of what a launch does.
//
// Invariants
//   1. A graph belongs to one rank of one fabric.
//   2. A graph is made before any rank of an operation is launched, in prepare(): to make one may
//      wait for the device, and a kernel there that waits for a rank not yet launched would never
//      end. The first time a rank uses a kernel it is launched plainly.
//   3. Plain launches also: what is being captured, and ranks that share a device (no test has
//      shown that graphs of theirs always run side by side).
//
// Thread safety: none; the fabric's launch lock sees to that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "collectives/executor/cuda/kernel.h"
#include "core/base/types.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives::cuda {

// Blocks and threads, and the kernel's one parameter.
struct KernelCall {
  Kernel kernel{};
  std::int32_t blocks = 1;
  std::int32_t threads = 1;
  void* params = nullptr;
  std::size_t param_bytes = 0;
};

class LaunchGraphs {
 public:
  explicit LaunchGraphs(const fabric::Fabric& fabric);
  ~LaunchGraphs();
  LaunchGraphs(const LaunchGraphs&) = delete;
  LaunchGraphs& operator=(const LaunchGraphs&) = delete;

  // Makes what launch() found wanting. Before the works of an operation are submitted.
  void prepare();
  void launch(const WorkContext& context, Rank rank, const KernelCall& call);

 private:
  struct Entry;
  static constexpr std::size_t kMost = 32;  // kernels a rank; more are launched plainly

  bool enabled_ = true;
  std::vector<std::vector<std::unique_ptr<Entry>>> ranks_;
  std::vector<Entry*> wanted_;  // known, and not made yet
};

}  // namespace weft::collectives::cuda
