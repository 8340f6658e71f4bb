// The two-shot Lamport kernel: see lamport.h for the protocol.
//
// Three passes of each thread over its places in the pieces: push everybody's pieces; reduce the
// own piece and push the result; collect the others' results.
#include "collectives/executor/cuda/lamport.cuh"
#include "collectives/executor/cuda/lamport.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kThreads = 512;

template <class Fold>
class TwoShot {
 public:
  __device__ TwoShot(const FlaggedBlock& block, FaultLatch& latch)
      : block_(block), params_(block.params), latch_(latch) {
    const auto vectors = static_cast<int>((params_.bytes + kLineBytes - 1) / kLineBytes);
    piece_ = (vectors + params_.world - 1) / params_.world;
    in_aligned_ = is_aligned(params_.input, kLineBytes);
    out_aligned_ = is_aligned(params_.output, kLineBytes);
  }

  __device__ void run() {
    for (int i = block_.thread; i < piece_; i += block_.threads) scatter(i);
    if (!pass_fault_point(params_, 1, latch_)) return;
    for (int i = block_.thread; i < piece_; i += block_.threads) {
      if (!reduce(i)) return;
    }
    for (int i = block_.thread; i < piece_; i += block_.threads) {
      if (!collect(i)) return;
    }
  }

 private:
  using T = typename Fold::type;

  __device__ uint4 load(int owner, int i) const {
    const std::int64_t offset = (owner * static_cast<std::int64_t>(piece_) + i) * kLineBytes;
    return Sentinel<T>::without(
        load_words<T, uint4>(params_.input, offset, params_.bytes, in_aligned_));
  }
  __device__ void store(int owner, int i, const uint4& value) const {
    const std::int64_t offset = (owner * static_cast<std::int64_t>(piece_) + i) * kLineBytes;
    store_words<T>(params_.output, offset, params_.bytes, out_aligned_, value);
  }
  __device__ uint4* lines(int owner, int source, int part) const {
    return block_.lines(owner, source, part);
  }

  __device__ void scatter(int i) const {
#pragma unroll 4
    for (int step = 1; step < params_.world; ++step) {
      const int owner = block_.peer(step);
      Sentinel<T>::store(lines(owner, params_.rank, 0) + i, load(owner, i));
    }
  }

  __device__ bool reduce(int i) const {
    typename Fold::Wide partial[Pack<T>::kElements];
    const uint4 own = load(params_.rank, i);
    for (int source = 0; source < params_.world; ++source) {
      uint4 value[1] = {own};
      if (source != params_.rank && !take<T>(params_, lines(params_.rank, source, 0), i, 0, piece_,
                                             source, 0, latch_, value)) {
        return false;
      }
      fold_in<Fold>(partial, value[0], source == 0);
    }
    const uint4 result = Sentinel<T>::without(finish<Fold>(partial, params_.world));
    for (int step = 1; step < params_.world; ++step) {
      Sentinel<T>::store(lines(block_.peer(step), params_.rank, 1) + i, result);
    }
    store(params_.rank, i, result);
    return true;
  }

  __device__ bool collect(int i) const {
    for (int step = 1; step < params_.world; ++step) {
      const int owner = block_.peer(step);
      uint4 value[1];
      if (!take<T>(params_, lines(params_.rank, owner, 1), i, 0, piece_, owner, 1, latch_, value)) {
        return false;
      }
      store(owner, i, value[0]);
    }
    return true;
  }

  const FlaggedBlock& block_;
  const FlaggedParams& params_;
  FaultLatch& latch_;
  int piece_;  // vectors in a piece
  bool in_aligned_;
  bool out_aligned_;
};

template <class Fold>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ FlaggedParams params) {
  __shared__ std::uint32_t left;
  FlaggedBlock block(params);
  block.begin(&left);
  FaultLatch latch(&left, params.records + blockIdx.x, params.limits);
  if (!pass_fault_point(params, 0, latch)) return;
  TwoShot<Fold>(block, latch).run();
}

}  // namespace

Kernel lamport_two_shot_kernel(DType dtype, ReduceOp op) {
  const void* function = pick_float_fold(
      dtype, op, [](auto fold) { return reinterpret_cast<const void*>(&run<decltype(fold)>); });
  return {function, kThreads, 0};
}

}  // namespace weft::collectives::cuda
