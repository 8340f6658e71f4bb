// Reducing one element over all ranks in rank order: the same arithmetic as reduce.h, but wide from
// the first rank to the last and rounded once, at the end. An average is divided once before that.
#pragma once

#include <type_traits>

#include "collectives/executor/cuda/reduce.cuh"

namespace weft::collectives::cuda {

// ReduceOp::avg: of floating-point elements. It is a fold of its own so that a sum has no division
// to step around: as a choice at run time that cost 0.8 us of a call of 4 MiB.
template <ReduceOp op, class T>
struct Fold {
  using type = T;
  using Wide = typename Element<T>::Wide;

  __device__ static Wide first(T own) { return DeviceElement<T>::widen(own); }
  __device__ static Wide next(Wide partial, T own) {
    return combine<op == ReduceOp::avg ? ReduceOp::sum : op>(partial, DeviceElement<T>::widen(own));
  }
  __device__ static T last(Wide partial, int ranks) {
    if constexpr (op == ReduceOp::avg) partial /= static_cast<Wide>(ranks);
    return DeviceElement<T>::narrow(partial);
  }
};

// On the host: pick(fold) for the Fold of elements of T and that op, to choose the kernel made for
// it.
template <class T, class Pick>
const void* pick_fold(ReduceOp op, const Pick& pick) {
  switch (op) {
    case ReduceOp::sum:
      break;
    case ReduceOp::avg:
      if constexpr (std::is_floating_point_v<typename Element<T>::Wide>) {
        return pick(Fold<ReduceOp::avg, T>{});
      }
      break;
    case ReduceOp::min:
      return pick(Fold<ReduceOp::min, T>{});
    case ReduceOp::max:
      return pick(Fold<ReduceOp::max, T>{});
    case ReduceOp::prod:
      return pick(Fold<ReduceOp::prod, T>{});
  }
  return pick(Fold<ReduceOp::sum, T>{});
}

}  // namespace weft::collectives::cuda
