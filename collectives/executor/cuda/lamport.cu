// The one-shot Lamport kernel: see lamport.h for the protocol.
//
// A thread works in batches of kVectors vectors, `threads` apart. It pushes a batch, pushes the
// next, and only then waits for the first: so the link never waits for a reduction. It reads its
// first batch before it knows the epoch.
#include "collectives/executor/cuda/lamport.cuh"
#include "collectives/executor/cuda/lamport.h"

namespace weft::collectives::cuda {
namespace {

using fabric::cuda::FaultLatch;

constexpr int kThreads = 512;
// Of a batch. Elements of 2 bytes are summed in twice the registers: with 4 they spill.
template <class T>
constexpr int kVectors = sizeof(T) == 2 ? 2 : 4;

// Vectors [begin, end) of the vector; kWhole: all of them complete and aligned.
template <class Fold, bool kWhole, int kCount>
class Stretch {
 public:
  __device__ Stretch(const FlaggedBlock& block, int begin, int end, FaultLatch& latch)
      : block_(block), params_(block.params), begin_(begin), end_(end), latch_(latch) {}

  // The thread's first batch, to be given to run().
  __device__ void load_first(uint4 (&own)[kCount]) const { load(begin_ + block_.thread, own); }

  __device__ bool run(uint4 (&own)[kCount]) const {
    const int apart = block_.threads * kCount;
    int first = begin_ + block_.thread;
    if (first >= end_) return true;
    push(first, own);
    for (;;) {
      const int next = first + apart;
      uint4 own_next[kCount];
      if (next < end_) {
        load(next, own_next);
        push(next, own_next);
      }
      if (!reduce(first, own)) return false;
      if (next >= end_) return true;
#pragma unroll
      for (int u = 0; u < kCount; ++u) own[u] = own_next[u];
      first = next;
    }
  }

 private:
  using T = typename Fold::type;

  __device__ int at(int first, int u) const { return first + u * block_.threads; }

  __device__ void load(int first, uint4 (&own)[kCount]) const {
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      if (at(first, u) >= end_) continue;
      const std::int64_t offset = at(first, u) * kLineBytes;
      if constexpr (kWhole) {
        own[u] = *reinterpret_cast<const uint4*>(params_.input + offset);
      } else {
        own[u] = load_part<T, uint4>(params_.input, offset, params_.bytes);
      }
    }
  }

  // Pushes a batch of the input to every peer; `own` becomes what they get.
  __device__ void push(int first, uint4 (&own)[kCount]) const {
#pragma unroll
    for (int u = 0; u < kCount; ++u) own[u] = Sentinel<T>::without(own[u]);
    for (int step = 1; step < params_.world; ++step) {
      uint4* lines = block_.lines(block_.peer(step), params_.rank);
#pragma unroll
      for (int u = 0; u < kCount; ++u) {
        if (at(first, u) < end_) Sentinel<T>::store(lines + at(first, u), own[u]);
      }
    }
  }

  // Waits for the batch of every peer and writes the output.
  __device__ bool reduce(int first, const uint4 (&own)[kCount]) const {
    typename Fold::Wide partial[kCount][Pack<T>::kElements];
    for (int source = 0; source < params_.world; ++source) {
      uint4 values[kCount];
#pragma unroll
      for (int u = 0; u < kCount; ++u) values[u] = own[u];
      if (source != params_.rank && !take<T>(params_, block_.lines(params_.rank, source), first,
                                             block_.threads, end_, source, 0, latch_, values)) {
        return false;
      }
#pragma unroll
      for (int u = 0; u < kCount; ++u) fold_in<Fold>(partial[u], values[u], source == 0);
    }
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      if (at(first, u) >= end_) continue;
      const uint4 result = finish<Fold>(partial[u], params_.world);
      const std::int64_t offset = at(first, u) * kLineBytes;
      if constexpr (kWhole) {
        *reinterpret_cast<uint4*>(params_.output + offset) = result;
      } else {
        store_part<T>(params_.output, offset, params_.bytes, result);
      }
    }
    return true;
  }

  const FlaggedBlock& block_;
  const FlaggedParams& params_;
  int begin_;
  int end_;
  FaultLatch& latch_;
};

template <class Fold>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ FlaggedParams params) {
  __shared__ std::uint32_t left;
  FlaggedBlock block(params);
  FaultLatch latch(&left, params.records + blockIdx.x, params.limits);
  const bool aligned =
      is_aligned(params.input, kLineBytes) && is_aligned(params.output, kLineBytes);
  const int whole = aligned ? static_cast<int>(params.bytes / kLineBytes) : 0;
  const int all = static_cast<int>((params.bytes + kLineBytes - 1) / kLineBytes);
  constexpr int kCount = kVectors<typename Fold::type>;
  const Stretch<Fold, true, kCount> wholes(block, 0, whole, latch);
  uint4 own[kCount];
  wholes.load_first(own);
  block.begin(&left);
  if (!pass_fault_point(params, 0, latch) || !wholes.run(own) || whole == all) return;
  const Stretch<Fold, false, 1> rest(block, whole, all, latch);
  uint4 one[1];
  rest.load_first(one);
  rest.run(one);
}

}  // namespace

Kernel lamport_kernel(DType dtype, ReduceOp op) {
  const void* function = pick_float_fold(
      dtype, op, [](auto fold) { return reinterpret_cast<const void*>(&run<decltype(fold)>); });
  return {function, kThreads, 0};
}

}  // namespace weft::collectives::cuda
