// The kernel of buckets: see bucket.h.
#include "collectives/executor/cuda/bucket.h"
#include "collectives/executor/cuda/direct.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = kBucketThreads;
constexpr int kWords = item_words(kMaxCudaRanks);
constexpr int kLanes = 32;
constexpr unsigned kAll = 0xffffffffu;

// A warp's walk through its items. The next one is on its way from the host while one is worked on.
class ItemWalk {
 public:
  __device__ ItemWalk(const BucketParams& params, std::uint64_t* room)
      : items_(params.items),
        room_(room),
        words_(item_words(params.layout.world)),
        lane_(static_cast<int>(threadIdx.x) % kLanes) {
    const auto warps = static_cast<std::int64_t>(gridDim.x) * kBucketWarps;
    const std::int64_t warp = static_cast<std::int64_t>(blockIdx.x) * kBucketWarps +
                              static_cast<int>(threadIdx.x) / kLanes;
    at_ = params.shares[warp * kBucketShares / warps];
    end_ = params.shares[(warp + 1) * kBucketShares / warps];
    fetch();
  }

  // All lanes: the next item is in the room; false: there is none.
  __device__ bool next() {
    if (at_ == end_) return false;
    __syncwarp();
    if (lane_ < words_) room_[lane_] = ahead_;
    if (lane_ + kLanes < words_) room_[lane_ + kLanes] = ahead_more_;
    __syncwarp();
    ++at_;
    fetch();
    return true;
  }

 private:
  __device__ void fetch() {
    if (at_ == end_) return;
    const std::uint64_t* item = items_ + static_cast<std::int64_t>(at_) * words_;
    if (lane_ < words_) ahead_ = item[lane_];
    if (lane_ + kLanes < words_) ahead_more_ = item[lane_ + kLanes];
  }

  const std::uint64_t* items_;
  std::uint64_t* room_;
  int words_;
  int lane_;
  std::uint32_t at_ = 0;
  std::uint32_t end_ = 0;
  std::uint64_t ahead_ = 0;
  std::uint64_t ahead_more_ = 0;
};

// One item's addresses, `skip` bytes into it.
struct ItemRoute {
  const std::uint64_t* item;
  int world;
  int rank;
  std::int64_t skip;

  __device__ const std::byte* source(int r) const {
    return reinterpret_cast<const std::byte*>(item[1 + r]) + skip;
  }
  // The rank after this one first, this one last.
  __device__ std::byte* target(int t) const {
    int to = rank + 1 + t;
    if (to >= world) to -= world;
    return reinterpret_cast<std::byte*>(item[1 + world + to]) + skip;
  }
};

// Bytes before all addresses of the item are multiples of 16; all of them if they never are at
// once.
__device__ inline std::int64_t head_of(const std::uint64_t* item, int world, int lane) {
  const auto bytes = static_cast<std::int64_t>(item[0]);
  const auto residue = static_cast<int>(item[1] % kPackBytes);
  const bool alike = lane >= 2 * world || static_cast<int>(item[1 + lane] % kPackBytes) == residue;
  if (!__all_sync(kAll, alike)) return bytes;
  const std::int64_t head = (kPackBytes - residue) % kPackBytes;
  return head < bytes ? head : bytes;
}

template <class Order, class Reduction>
__device__ void reduce_item(const Reduction& reduction, const BucketParams& params,
                            const std::uint64_t* item) {
  using T = typename Reduction::type;
  const int world = params.layout.world;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const auto bytes = static_cast<std::int64_t>(item[0]);
  const std::int64_t head = head_of(item, world, lane);
  const std::int64_t packs = (bytes - head) / Pack<T>::kBytes;
  const ItemRoute route{item, world, params.rank, head};
  reduce_packs<Order>(
      reduction, world, [&](int r) { return route.source(r); }, world,
      [&](int t) { return route.target(t); }, Share{lane, kLanes, packs});
  const std::int64_t tail = head + packs * Pack<T>::kBytes;
#pragma unroll 1
  for (int end = 0; end < 2; ++end) {
    const ItemRoute rest{item, world, params.rank, end == 0 ? 0 : tail};
    const std::int64_t size = end == 0 ? head : bytes - tail;
    reduce_elements(
        reduction, world, [&](int r) { return rest.source(r); }, world,
        [&](int t) { return rest.target(t); },
        Share{lane, kLanes, size / static_cast<std::int64_t>(sizeof(T))});
  }
}

template <class Order>
__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ BucketParams params) {
  __shared__ std::uint32_t left;
  __shared__ std::uint64_t rooms[kBucketWarps][kWords];
  const int block = static_cast<int>(blockIdx.x);
  std::uint64_t* item = rooms[threadIdx.x / kLanes];
  if (threadIdx.x == 0) left = 0;
  std::uint32_t* left_word =
      fabric::cuda::left_word(params.arenas[params.rank], params.layout, block);
  fabric::cuda::FaultLatch latch(&left, params.records + block, params.limits, left_word);
  Tokens tokens(params.arenas, params.layout, params.rank, block);
  ItemWalk walk(params, item);
  if (!fabric::cuda::begin_block(left_word)) return;
  if (!fault_at(params, 0, latch)) return;
  if (!tokens.pass(kEntered, Tokens::Pass::enter, 0, latch)) return;
  with_rank_order_of<Order>(params.dtype, params.op, params.layout.world, [&](auto reduction) {
#pragma unroll 1
    while (walk.next()) reduce_item<Order>(reduction, params, item);
  });
  if (!fault_at(params, 1, latch)) return;
  if (!tokens.pass(kMoved, Tokens::Pass::leave, 1, latch)) return;
  tokens.finish(kMoved);
}

}  // namespace

Kernel bucket_kernel(DType dtype, ReduceOp op) {
  return choose_rank_order(dtype, op, [](auto order) {
    return Kernel{reinterpret_cast<const void*>(&run<typename decltype(order)::type>), kThreads, 0};
  });
}

}  // namespace weft::collectives::cuda
