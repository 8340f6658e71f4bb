// Barriers between the ranks' blocks of one number, and planned faults, for kernels that work in
// phases.
//
// A token is one count on the data word of a lane: what it announces, both sides know from the
// plan. So kernels with tokens, pieces and slots follow one another freely on the same lanes.
#pragma once

#include <cstdint>

#include "collectives/plan.h"
#include "fabric/cuda/signal.cuh"

namespace weft::collectives::cuda {

// One thread's lanes to and from one peer of its block. Threads below `world`, but for the rank's
// own number, have one; the others only take part in the block's barriers.
class Tokens {
 public:
  // `arenas` by rank.
  __device__ Tokens(std::byte* const* arenas, const fabric::ArenaLayout& layout, int rank,
                    int block)
      : rank_(rank), peer_(static_cast<int>(threadIdx.x)) {
    if (peer_ >= layout.world || peer_ == rank) return;
    in_ = &fabric::cuda::signals(arenas[rank], layout, block, peer_)->data;
    out_ = &fabric::cuda::signals(arenas[peer_], layout, block, rank)->data;
    progress_ = fabric::cuda::progress(arenas[rank], layout, block, peer_);
    start_ = *progress_;
  }

  // What a barrier stands for beside its count.
  enum class Pass : std::uint8_t {
    enter,  // what was in the peers' memory before their kernels began is what is loaded from now
            // on
    leave,  // what was written is visible to kernels that come after this one, on every rank
    part,   // nothing was written that anybody else reads
  };

  // All threads of the block: every peer's block of this number has come as far, its loads are
  // done. False: the block leaves.
  __device__ bool pass(std::uint32_t count, Pass kind, int step, fabric::cuda::FaultLatch& latch) {
    __syncthreads();
    if (progress_) {
      if (kind == Pass::leave) {
        fabric::cuda::publish(out_, start_.sent + count);
      } else {
        ptx::st_relaxed_sys(out_, start_.sent + count);
      }
      fabric::cuda::LaneWait wait(in_, start_.received, false, fabric::Awaited::data, rank_, peer_);
      latch.stop_clock();
      // On the way in an acquire: an earlier kernel of another library may have left lines of a
      // peer's memory in the L1 cache. On the way out the kernel's end is one.
      if (kind == Pass::enter) {
        wait.reach(count, step, latch);
      } else {
        wait.reach_relaxed(count, step, latch);
      }
    }
    __syncthreads();
    return !latch.left();
  }

  // For the next operation, after pass(count).
  __device__ void finish(std::uint32_t count) const {
    if (!progress_) return;
    progress_->received = start_.received + count;
    progress_->sent = start_.sent + count;
  }

 private:
  int rank_;
  int peer_;
  const std::uint32_t* in_ = nullptr;
  std::uint32_t* out_ = nullptr;
  fabric::LaneProgress* progress_ = nullptr;  // null: this thread has no peer
  fabric::LaneProgress start_{};
};

// A fault planned for this rank and step happens here; false: the block leaves. One thread a block.
__device__ inline bool pass_fault(const FaultPoint& fault, int rank, int step,
                                  fabric::cuda::FaultLatch& latch) {
  if (fault.action == FaultPoint::Action::none || fault.rank != rank || fault.step != step) {
    return true;
  }
  fabric::Outcome outcome = fabric::Outcome::stopped;
  if (fault.action == FaultPoint::Action::delay) {
    const std::int64_t end = ptx::globaltimer() + fault.delay_ns;
    outcome = fabric::Outcome::ok;
    while (outcome == fabric::Outcome::ok && ptx::globaltimer() < end && !latch.left()) {
      __nanosleep(1000);
      outcome = latch.aborted();
    }
  }
  if (outcome == fabric::Outcome::ok) return !latch.left();
  latch.leave(outcome, fabric::Awaited::data, rank, step, -1, 0, 0);
  return false;
}

// The same for all threads of a block; `params` has the fault and the rank.
template <class Params>
__device__ bool fault_at(const Params& params, int step, fabric::cuda::FaultLatch& latch) {
  if (params.fault.action == FaultPoint::Action::none) return true;
  return __syncthreads_and(threadIdx.x != 0 ||
                           pass_fault(params.fault, params.rank, step, latch)) != 0;
}

}  // namespace weft::collectives::cuda
