// Reductions over several ranks' elements in one go: summed in rank order in the wide type, rounded
// once at the end, divided (avg) once before. And the loops over 16-byte packs that carry them.
//
// Every family that uses these gives the same bits on every rank, and the same as each other.
//
// Invariants
//   1. A thread loads a batch of packs before it stores any of them: many loads are in flight, and
//      an element may be read and written in place by the same thread.
//   2. Loads are plain or streaming (.cs), never read-only (.nc): what they read may have been
//      written by a peer during the kernel.
#pragma once

#include <cstdint>
#include <type_traits>

#include "collectives/executor/cuda/reduce.cuh"

namespace weft::collectives::cuda {

template <ReduceOp op, class T>
struct RankOrder {
  using type = T;
  using Wide = typename Element<T>::Wide;
  int count;  // ranks that are averaged

  static __device__ Wide first(T x) { return DeviceElement<T>::widen(x); }
  static __device__ Wide next(Wide sum, T x) {
    return combine<op == ReduceOp::avg ? ReduceOp::sum : op>(
        sum, static_cast<Wide>(DeviceElement<T>::widen(x)));
  }
  __device__ T last(Wide sum) const {
    if constexpr (op == ReduceOp::avg) sum /= static_cast<Wide>(count);
    return DeviceElement<T>::narrow(sum);
  }
};

// Calls use(functor) with the RankOrder of that dtype and op; `count` ranks are averaged. Only
// floating dtypes have an average of their own: its division would weigh on the sum.
template <class Use>
__device__ void with_rank_order(DType dtype, ReduceOp op, int count, const Use& use) {
  with_element(dtype, [&](auto element) {
    using T = decltype(element);
    if constexpr (std::is_floating_point_v<typename Element<T>::Wide>) {
      if (op == ReduceOp::avg) return use(RankOrder<ReduceOp::avg, T>{count});
    }
    switch (op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        return use(RankOrder<ReduceOp::sum, T>{count});
      case ReduceOp::min:
        return use(RankOrder<ReduceOp::min, T>{count});
      case ReduceOp::max:
        return use(RankOrder<ReduceOp::max, T>{count});
      case ReduceOp::prod:
        return use(RankOrder<ReduceOp::prod, T>{count});
    }
  });
}

// What a kernel is compiled for: one RankOrder, so that it is small and has registers to spare; or
// any, chosen as it runs.
struct AnyRankOrder {};
template <class Order>
inline constexpr bool kOneRankOrder = !std::is_same_v<Order, AnyRankOrder>;

template <class Order, class Use>
__device__ void with_rank_order_of(DType dtype, ReduceOp op, int count, const Use& use) {
  if constexpr (kOneRankOrder<Order>) {
    use(Order{count});
  } else {
    with_rank_order(dtype, op, count, use);
  }
}

// make(std::type_identity<Order>) for the Order that a kernel for this dtype and op is compiled
// for.
template <class Make>
auto choose_rank_order(DType dtype, ReduceOp op, const Make& make) {
  const auto of = [&](auto which) {
    constexpr ReduceOp kOp = decltype(which)::value;
    if (dtype == DType::f32) return make(std::type_identity<RankOrder<kOp, float>>{});
    if (dtype == DType::f16) return make(std::type_identity<RankOrder<kOp, Half>>{});
    if (dtype == DType::bf16) return make(std::type_identity<RankOrder<kOp, BFloat16>>{});
    return make(std::type_identity<AnyRankOrder>{});
  };
  if (op == ReduceOp::sum) return of(std::integral_constant<ReduceOp, ReduceOp::sum>{});
  if (op == ReduceOp::avg) return of(std::integral_constant<ReduceOp, ReduceOp::avg>{});
  return make(std::type_identity<AnyRankOrder>{});
}

inline constexpr int kPackBytes = 16;

// Which packs or elements of a run a thread takes: first, first + stride, ... below `end`.
struct Share {
  std::int64_t first = 0;
  std::int64_t stride = 1;
  std::int64_t end = 0;
};

__device__ inline uint4 load_pack(const std::byte* from, std::int64_t i) {
  return __ldcs(reinterpret_cast<const uint4*>(from) + i);
}
__device__ inline void store_pack(std::byte* to, std::int64_t i, const uint4& pack) {
  reinterpret_cast<uint4*>(to)[i] = pack;
}

// What a thread sums at once: 16 bytes; of one-byte types 4, or the kernels would take minutes to
// compile.
template <class T>
union Pack {
  static constexpr int kElements = sizeof(T) == 1 ? 4 : static_cast<int>(kPackBytes / sizeof(T));
  static constexpr int kBytes = kElements * static_cast<int>(sizeof(T));
  using Whole = std::conditional_t<kBytes == kPackBytes, uint4, unsigned>;
  Whole whole;
  T elements[kElements];

  __device__ Pack() {}
  __device__ void load(const std::byte* from, std::int64_t i) {
    whole = __ldcs(reinterpret_cast<const Whole*>(from) + i);
  }
  __device__ void store(std::byte* to, std::int64_t i) const {
    reinterpret_cast<Whole*>(to)[i] = whole;
  }
};

// Sums a batch of packs of two sources: result[u] is pack i + u * stride, where that is in the
// share.
template <int kUnroll, class Reduction>
__device__ void sum_two(const Reduction& reduction, const std::byte* a, const std::byte* b,
                        std::int64_t i, const Share& share,
                        Pack<typename Reduction::type> (&result)[kUnroll]) {
  using Packed = Pack<typename Reduction::type>;
  Packed other[kUnroll];
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
    const std::int64_t at = i + u * share.stride;
    if (at >= share.end) continue;
    result[u].load(a, at);
    other[u].load(b, at);
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
    for (int e = 0; e < Packed::kElements; ++e) {
      result[u].elements[e] = reduction.last(
          Reduction::next(Reduction::first(result[u].elements[e]), other[u].elements[e]));
    }
  }
}

// Two sources, one or two (`second` not null) targets. The share counts packs, here and below.
template <int kUnroll, class Reduction>
__device__ void reduce_two(const Reduction& reduction, const std::byte* a, const std::byte* b,
                           std::byte* to, std::byte* second, const Share& share) {
  for (std::int64_t i = share.first; i < share.end; i += kUnroll * share.stride) {
    Pack<typename Reduction::type> sums[kUnroll];
    sum_two(reduction, a, b, i, share, sums);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * share.stride;
      if (at >= share.end) continue;
      sums[u].store(to, at);
      if (second) sums[u].store(second, at);
    }
  }
}

// Sums a batch of packs of any number of sources, as sum_two does; source(r) gives an address.
template <int kUnroll, class Reduction, class Source>
__device__ void sum_many(const Reduction& reduction, int sources, const Source& source,
                         std::int64_t i, const Share& share,
                         Pack<typename Reduction::type> (&result)[kUnroll]) {
  using Packed = Pack<typename Reduction::type>;
  typename Reduction::Wide sums[kUnroll][Packed::kElements];
#pragma unroll 1
  for (int r = 0; r < sources; ++r) {
    const std::byte* from = source(r);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * share.stride;
      if (at < share.end) result[u].load(from, at);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int e = 0; e < Packed::kElements; ++e) {
        const auto element = result[u].elements[e];
        sums[u][e] = r == 0 ? Reduction::first(element) : Reduction::next(sums[u][e], element);
      }
    }
  }
#pragma unroll
  for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
    for (int e = 0; e < Packed::kElements; ++e) result[u].elements[e] = reduction.last(sums[u][e]);
  }
}

// Any number of sources and targets; target(t) gives an address.
template <int kUnroll, class Reduction, class Source, class Target>
__device__ void reduce_many(const Reduction& reduction, int sources, const Source& source,
                            int targets, const Target& target, const Share& share) {
#pragma unroll 1
  for (std::int64_t i = share.first; i < share.end; i += kUnroll * share.stride) {
    Pack<typename Reduction::type> results[kUnroll];
    sum_many(reduction, sources, source, i, share, results);
#pragma unroll 1
    for (int t = 0; t < targets; ++t) {
      std::byte* to = target(t);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t at = i + u * share.stride;
        if (at < share.end) results[u].store(to, at);
      }
    }
  }
}

// The better of the two.
template <class Order, class Reduction, class Source, class Target>
__device__ void reduce_packs(const Reduction& reduction, int sources, const Source& source,
                             int targets, const Target& target, const Share& share) {
  constexpr int kUnroll = 4;
  if constexpr (kOneRankOrder<Order>) {
    if (sources == 2) {
      return reduce_two<kUnroll>(reduction, source(0), source(1), target(0),
                                 targets > 1 ? target(1) : nullptr, share);
    }
  }
  reduce_many<kUnroll>(reduction, sources, source, targets, target, share);
}

template <class Reduction, class Source>
__device__ typename Reduction::type sum_element(const Reduction& reduction, int sources,
                                                const Source& source, std::int64_t i) {
  using T = typename Reduction::type;
  auto sum = Reduction::first(reinterpret_cast<const T*>(source(0))[i]);
#pragma unroll 1
  for (int r = 1; r < sources; ++r) {
    sum = Reduction::next(sum, reinterpret_cast<const T*>(source(r))[i]);
  }
  return reduction.last(sum);
}

// The same one element at a time: for addresses that do not line up, and for ends.
template <class Reduction, class Source, class Target>
__device__ void reduce_elements(const Reduction& reduction, int sources, const Source& source,
                                int targets, const Target& target, const Share& share) {
  using T = typename Reduction::type;
#pragma unroll 1
  for (std::int64_t i = share.first; i < share.end; i += share.stride) {
    const T result = sum_element(reduction, sources, source, i);
#pragma unroll 1
    for (int t = 0; t < targets; ++t) reinterpret_cast<T*>(target(t))[i] = result;
  }
}

// One source, any number of targets.
template <int kUnroll, class Target>
__device__ void copy_packs(const std::byte* from, int targets, const Target& target,
                           const Share& share) {
  for (std::int64_t i = share.first; i < share.end; i += kUnroll * share.stride) {
    uint4 packs[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * share.stride;
      if (at < share.end) packs[u] = load_pack(from, at);
    }
#pragma unroll 1
    for (int t = 0; t < targets; ++t) {
      std::byte* to = target(t);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const std::int64_t at = i + u * share.stride;
        if (at < share.end) store_pack(to, at, packs[u]);
      }
    }
  }
}

// The same in units of an unsigned type.
template <class Unit, class Target>
__device__ void copy_units(const std::byte* from, int targets, const Target& target,
                           const Share& share) {
#pragma unroll 4
  for (std::int64_t i = share.first; i < share.end; i += share.stride) {
    const Unit unit = reinterpret_cast<const Unit*>(from)[i];
    for (int t = 0; t < targets; ++t) reinterpret_cast<Unit*>(target(t))[i] = unit;
  }
}

}  // namespace weft::collectives::cuda
