// Kernel families below the public calls, for families.cc: a case, and ranks to run it on.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/executor/cuda/copy_engine.h"
#include "collectives/executor/cuda/direct.h"
#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/cuda/push_two_shot.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::bench {

inline constexpr std::int64_t kFamilyScratch = 64 << 20;
inline constexpr std::int32_t kFamilyBlocks = 128;

using collectives::CopyEngines;
using collectives::Motion;
using collectives::MotionPlan;
using collectives::Plan;
using collectives::ReduceOp;

enum class Family : std::uint8_t { direct, push, copy_engine, copy_moves, ring };

struct Case {
  Family family = Family::direct;
  MotionPlan motion{};
  ReduceOp op = ReduceOp::sum;
  DType dtype = DType::f32;
  std::int64_t elements = 0;  // as in move.h
  std::int32_t blocks = 64;
  std::int64_t piece_bytes = collectives::cuda::kPushPieceBytes;  // of push
};

// Ranks on devices, with streams and the buffers of one case at a time.
class Ranks {
 public:
  Ranks(const std::vector<int>& devices, double timeout, std::uint32_t first_epoch,
        CopyEngines::Options engines)
      : devices_(devices) {
    fabric::FabricOptions options;
    for (const int d : devices) {
      options.devices.push_back(&device({DeviceKind::cuda, DeviceOrdinal(d)}));
    }
    options.topology = topology::probe();
    options.timeout_seconds = timeout;
    options.scratch = Bytes(kFamilyScratch);
    options.first_epoch = first_epoch;
    options.blocks = kFamilyBlocks;
    fabric_ = fabric::Fabric::open(std::move(options));
    collectives::cuda_ring_preload(*fabric_);
    engines_ = std::make_unique<CopyEngines>(*fabric_, engines);
    for (int r = 0; r < world(); ++r) {
      streams_.push_back(static_cast<cudaStream_t>(fabric_->stream(Rank(r)).handle));
    }
  }

  int world() const { return static_cast<int>(devices_.size()); }
  int device_of(int r) const { return devices_[static_cast<std::size_t>(r)]; }
  fabric::Fabric& fabric() const { return *fabric_; }
  const std::vector<cudaStream_t>& streams() const { return streams_; }
  std::int32_t most_blocks() const {
    const auto count = std::count(devices_.begin(), devices_.end(), devices_.front());
    return static_cast<std::int32_t>(kFamilyBlocks / count);
  }

  Plan plan(const Case& c, const std::vector<void*>& in, const std::vector<void*>& out) const {
    Plan plan;
    plan.op = c.op;
    plan.dtype = c.dtype;
    plan.world = fabric_->world();
    const std::int64_t item = item_bytes(c.dtype);
    const std::int32_t blocks = std::min(c.blocks, most_blocks());
    if (c.family == Family::push) {
      plan.tiling = collectives::push_two_shot_tiling(c.elements, item, plan.world,
                                                      {0, kFamilyScratch}, blocks, c.piece_bytes);
    } else if (c.family == Family::ring) {
      plan.tiling = schedule::make_tiling(c.elements, item, plan.world,
                                          collectives::cuda_ring_limits(*fabric_, c.dtype, blocks));
    } else {
      plan.tiling.elements = c.elements;
      plan.tiling.blocks = collectives::direct_blocks(c.elements * item, blocks);
    }
    plan.limits = {fabric_->timeout_ns(), fabric_->abort_flag(), 1};
    for (std::size_t r = 0; r < in.size(); ++r) {
      plan.inputs[r] = in[r];
      plan.outputs[r] = out[r];
    }
    return plan;
  }

  Work work(const Case& c, const Plan& plan, Rank rank) const {
    switch (c.family) {
      case Family::direct:
        return collectives::direct_work(*fabric_, plan, c.motion, rank);
      case Family::push:
        return collectives::push_two_shot_work(*fabric_, plan, {0, kFamilyScratch}, rank);
      case Family::copy_engine:
        return collectives::copy_engine_work(*engines_, plan, {0, kFamilyScratch}, rank);
      case Family::copy_moves:
        return collectives::copy_engine_move_work(*engines_, plan, c.motion, rank);
      case Family::ring:
        break;
    }
    return collectives::cuda_ring_work(*fabric_, plan, rank);
  }

  void enqueue_one(const Case& c, const Plan& plan, int r) const {
    const Work work = this->work(c, plan, Rank(r));
    if (work.run) fabric_->device(Rank(r)).submit(fabric_->stream(Rank(r)), work);
  }
  void enqueue(const Case& c, const Plan& plan) const {
    for (int r = 0; r < world(); ++r) enqueue_one(c, plan, r);
  }
  // False: not within some seconds.
  bool settle() const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (int r = 0; r < world(); ++r) {
      const CurrentDevice current(device_of(r));
      cudaError_t status = cudaErrorNotReady;
      while ((status = cudaStreamQuery(streams_[static_cast<std::size_t>(r)])) ==
             cudaErrorNotReady) {
        if (std::chrono::steady_clock::now() > end) return false;
      }
      check_cuda(status, "cudaStreamQuery");
    }
    return true;
  }

 private:
  std::vector<int> devices_;
  std::shared_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<CopyEngines> engines_;
  std::vector<cudaStream_t> streams_;
};

// What families.cc offers; exit codes.
int check_families(const std::vector<int>& devices);
int check_faults();
int time_families(const std::string& nccl, std::size_t least, std::size_t most);

}  // namespace weft::bench
