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
  int divisor;  // 0: none

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

// Calls use(fold) with the Fold of that op on elements of T.
template <class T, class Use>
__device__ void with_fold(ReduceOp op, int ranks, const Use& use) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::avg:
      return use(Fold<ReduceOp::sum, T>{op == ReduceOp::avg ? ranks : 0});
    case ReduceOp::min:
      return use(Fold<ReduceOp::min, T>{0});
    case ReduceOp::max:
      return use(Fold<ReduceOp::max, T>{0});
    case ReduceOp::prod:
      return use(Fold<ReduceOp::prod, T>{0});
  }
}

}  // namespace weft::collectives::cuda
