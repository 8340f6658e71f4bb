#include "collectives/executor/sim/reduce.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "collectives/executor/reduce.h"

namespace weft::collectives {
namespace {

constexpr std::int64_t kStrip = 512;  // elements whose sums are kept in the wide type at a time

template <ReduceOp op, class T>
void add_two(T* to, const T* a, const T* b, std::int64_t count, int divisor) {
  // ivdep: `to` may be exactly a or b, which is no dependence between different elements.
  if (divisor == 0) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) to[i] = reduce_element<op>(a[i], b[i], 0);
  } else {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) to[i] = reduce_element<op>(a[i], b[i], divisor);
  }
}

template <ReduceOp op, class T>
void add_many(T* to, std::span<const void* const> sources, std::int64_t count, int divisor) {
  using E = Element<T>;
  std::array<typename E::Wide, kStrip> sums;
  for (std::int64_t begin = 0; begin < count; begin += kStrip) {
    const auto size = static_cast<std::size_t>(std::min(kStrip, count - begin));
    const auto strip = [&](std::size_t k) { return static_cast<const T*>(sources[k]) + begin; };
    for (std::size_t i = 0; i < size; ++i) sums[i] = E::widen(strip(0)[i]);
    for (std::size_t k = 1; k < sources.size(); ++k) {
      const T* source = strip(k);
      for (std::size_t i = 0; i < size; ++i) sums[i] = combine<op>(sums[i], E::widen(source[i]));
    }
    for (std::size_t i = 0; i < size; ++i)
      to[begin + static_cast<std::int64_t>(i)] = finish_element<T>(sums[i], divisor);
  }
}

template <ReduceOp op, class T>
void add(T* to, std::span<const void* const> sources, std::int64_t count, int divisor) {
  if (sources.size() != 2) return add_many<op>(to, sources, count, divisor);
  add_two<op>(to, static_cast<const T*>(sources[0]), static_cast<const T*>(sources[1]), count,
              divisor);
}

}  // namespace

void reduce_piece(DType dtype, ReduceOp op, void* to, std::span<const void* const> sources,
                  std::int64_t count, int divisor) {
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    T* out = static_cast<T*>(to);
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return add<ReduceOp::sum>(out, sources, count, divisor);
      case ReduceOp::min:
        return add<ReduceOp::min>(out, sources, count, 0);
      case ReduceOp::max:
        return add<ReduceOp::max>(out, sources, count, 0);
      case ReduceOp::prod:
        return add<ReduceOp::prod>(out, sources, count, 0);
    }
  });
}

}  // namespace weft::collectives
