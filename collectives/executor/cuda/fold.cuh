// Reducing one element over all ranks in rank order: the same arithmetic as reduce.h, but wide from
// the first rank to the last and rounded once, at the end. An average is divided once before that.
#pragma once

#include <type_traits>

#include "collectives/executor/cuda/reduce.cuh"

namespace weft::collectives::cuda {

template <ReduceOp op, class T>
struct Fold {
  using type = T;
  using Wide = typename Element<T>::Wide;
  int divisor = 0;  // 0: none

  __device__ static Wide first(T own) { return DeviceElement<T>::widen(own); }
  __device__ static Wide next(Wide partial, T own) {
    return combine<op>(partial, DeviceElement<T>::widen(own));
  }
  __device__ T last(Wide partial) const {
    if constexpr (std::is_floating_point_v<Wide> && op == ReduceOp::sum) {
      if (divisor != 0) partial /= static_cast<Wide>(divisor);
    }
    return DeviceElement<T>::narrow(partial);
  }
};

// On the host: pick(fold) for the Fold of elements of T and that op, to choose a kernel. One kernel
// for each pair: with the choice made inside a kernel, calls of 1 to 4 MiB took 0.7 us longer.
template <class T, class Pick>
const void* pick_fold(ReduceOp op, const Pick& pick) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::avg:
      return pick(Fold<ReduceOp::sum, T>{});
    case ReduceOp::min:
      return pick(Fold<ReduceOp::min, T>{});
    case ReduceOp::max:
      return pick(Fold<ReduceOp::max, T>{});
    case ReduceOp::prod:
      break;
  }
  return pick(Fold<ReduceOp::prod, T>{});
}

}  // namespace weft::collectives::cuda
