// The copy engines' kernel: sums a piece of every rank's, in rank order.
#include "collectives/executor/cuda/copy_engine.h"
#include "collectives/executor/cuda/rank_order.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = 512;

template <class Order>
__global__ void __launch_bounds__(kThreads) run(const __grid_constant__ SumParams params) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  const auto source = [&](int r) { return params.sources[r]; };
  const auto target = [&](int t) { return params.targets[t]; };
  with_rank_order_of<Order>(params.dtype, params.op, params.world, [&](auto reduction) {
    using T = typename decltype(reduction)::type;
    const Share packs{first, stride, params.packed ? params.elements / Pack<T>::kElements : 0};
    reduce_packs<Order>(reduction, params.world, source, params.target_count, target, packs);
    reduce_elements(reduction, params.world, source, params.target_count, target,
                    {packs.end * Pack<T>::kElements + first, stride, params.elements});
  });
}

}  // namespace

Kernel copy_engine_kernel(DType dtype, ReduceOp op) {
  return choose_rank_order(dtype, op, [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run<typename decltype(order)::type>), kThreads, 0};
  });
}

}  // namespace weft::collectives::cuda
