#include "collectives/executor/sim/reduce.h"

#include "collectives/executor/reduce.h"

namespace weft::collectives {
namespace {

template <ReduceOp op, class T>
void loop(T* to, const T* a, const T* b, std::int64_t count, int divisor) {
  // ivdep: `to` may be exactly a or b, which is no dependence between different elements.
  if (divisor == 0) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) to[i] = reduce_element<op>(a[i], b[i], 0);
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) to[i] = reduce_element<op>(a[i], b[i], divisor);
  }
}

}  // namespace

void reduce_piece(DType dtype, ReduceOp op, void* to, const void* a, const void* b,
                  std::int64_t count, int divisor) {
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    T* out = static_cast<T*>(to);
    const T* x = static_cast<const T*>(a);
    const T* y = static_cast<const T*>(b);
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return loop<ReduceOp::sum>(out, x, y, count, divisor);
      case ReduceOp::min:
        return loop<ReduceOp::min>(out, x, y, count, 0);
      case ReduceOp::max:
        return loop<ReduceOp::max>(out, x, y, count, 0);
      case ReduceOp::prod:
        return loop<ReduceOp::prod>(out, x, y, count, 0);
    }
  });
}

}  // namespace weft::collectives
