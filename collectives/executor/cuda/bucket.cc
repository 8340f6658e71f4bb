#include "collectives/executor/cuda/bucket.h"

#include <algorithm>
#include <vector>

#include "collectives/bucket.h"
#include "collectives/executor/cuda/table_pool.h"
#include "collectives/schedule/tiling.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

using cuda::BucketParams;
using cuda::kBucketShares;
using cuda::Kernel;
using schedule::Range;

// An item costs its bytes, and as much as this many for being one.
constexpr std::int64_t kItemCost = 1024;
// Items are small enough for each warp to have one, if this leaves them worth their cost.
constexpr std::int64_t kSmallestItem = 2048;
constexpr std::int64_t kLargestItem = 32 << 10;
constexpr std::int64_t kItemStep = 512;

struct RankTable {
  const std::uint32_t* shares = nullptr;
  const std::uint64_t* items = nullptr;
};

// What a bucket's `table` points to.
struct Table {
  std::shared_ptr<std::uint64_t[]> memory;
  RankTable ranks[kMaxCudaRanks];
};

struct Item {
  std::size_t place;
  std::int64_t begin;  // elements into the tensor
  std::int64_t count;
};

// The items of one rank's chunk, in order.
std::vector<Item> cut_items(const Bucket& bucket, const Range& chunk) {
  const std::int64_t item = item_bytes(bucket.dtype());
  const std::int64_t share = schedule::ceil_div(chunk.size() * item, kBucketShares);
  const std::int64_t bytes =
      std::clamp(schedule::ceil_div(share, kItemStep) * kItemStep, kSmallestItem, kLargestItem);
  const std::int64_t most = bytes / item;
  const auto begins = bucket.begins();
  std::vector<Item> items;
  const auto first = std::upper_bound(begins.begin(), begins.end(), chunk.begin) - begins.begin();
  for (auto k = static_cast<std::size_t>(first) - 1; k < bucket.places(); ++k) {
    if (begins[k] >= chunk.end) break;
    std::int64_t begin = std::max(chunk.begin - begins[k], std::int64_t{0});
    const std::int64_t end = std::min(chunk.end, begins[k + 1]) - begins[k];
    while (begin < end) {
      // Pieces begin at multiples of their size: all but the first are aligned as the tensor is.
      const std::int64_t next = std::min(end, (begin / most + 1) * most);
      items.push_back({k, begin, next - begin});
      begin = next;
    }
  }
  return items;
}

// The first item of each share: items go to the share in which their cost begins.
void deal(const std::vector<Item>& items, std::int64_t item_bytes, std::uint32_t* shares) {
  std::int64_t total = 0;
  for (const Item& item : items) total += item.count * item_bytes + kItemCost;
  std::int64_t cost = 0;
  std::int64_t share = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto mine =
        static_cast<std::int64_t>(static_cast<__int128>(cost) * kBucketShares / total);
    for (; share <= mine; ++share) shares[share] = static_cast<std::uint32_t>(i);
    cost += items[i].count * item_bytes + kItemCost;
  }
  for (; share <= kBucketShares; ++share) shares[share] = static_cast<std::uint32_t>(items.size());
}

void write_items(const Bucket& bucket, const std::vector<Item>& items, std::uint64_t* to) {
  const auto world = static_cast<std::size_t>(bucket.world().value());
  const std::int64_t bytes = item_bytes(bucket.dtype());
  for (const Item& item : items) {
    *to++ = static_cast<std::uint64_t>(item.count * bytes);
    for (const auto tensors : {bucket.inputs(), bucket.outputs()}) {
      for (std::size_t r = 0; r < world; ++r) {
        const auto address =
            reinterpret_cast<std::uintptr_t>(tensors[item.place * world + r].data());
        *to++ = address + static_cast<std::uintptr_t>(item.begin * bytes);
      }
    }
  }
}

std::shared_ptr<Table> make_table(Device& device, const Plan& plan) {
  const int world = plan.world.value();
  const Bucket& bucket = *plan.bucket;
  std::array<std::vector<Item>, kMaxCudaRanks> items;
  constexpr std::size_t kShareWords = (kBucketShares + 2) / 2;
  const auto words = static_cast<std::size_t>(cuda::item_words(world));
  std::size_t all = 0;
  for (int r = 0; r < world; ++r) {
    auto& mine = items[static_cast<std::size_t>(r)];
    mine = cut_items(bucket, plan.in.chunk(r, r));
    if (mine.size() > UINT32_MAX) fail(ErrorCode::size_overflow, "a bucket of 2^32 items or more");
    all += kShareWords + mine.size() * words;
  }
  auto table = std::make_shared<Table>();
  table->memory = lend_table(device, all);
  std::uint64_t* at = table->memory.get();
  for (int r = 0; r < world; ++r) {
    const auto& mine = items[static_cast<std::size_t>(r)];
    auto* shares = reinterpret_cast<std::uint32_t*>(at);
    deal(mine, item_bytes(bucket.dtype()), shares);
    at += kShareWords;
    write_items(bucket, mine, at);
    table->ranks[r] = {shares, at};
    at += mine.size() * words;
  }
  return table;
}

struct Launch {
  const fabric::Fabric* fabric = nullptr;
  const Plan* plan = nullptr;
  Rank rank{};
};

void run(const WorkContext& context, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  const Plan& plan = *launch.plan;
  const fabric::Fabric& fabric = *launch.fabric;
  const auto& table = *static_cast<const Table*>(plan.bucket->table.get());
  BucketParams params;
  for (int r = 0; r < plan.world.value(); ++r) params.arenas[r] = fabric.arena(Rank(r)).base;
  params.shares = table.ranks[launch.rank.value()].shares;
  params.items = table.ranks[launch.rank.value()].items;
  params.rank = launch.rank.value();
  params.dtype = plan.dtype;
  params.op = plan.op;
  params.fault = plan.fault;
  params.layout = fabric.arena(launch.rank).layout;
  params.limits = plan.limits;
  params.records = fabric.fault_record(launch.rank, 0);
  const Kernel kernel = cuda::bucket_kernel(plan.dtype, plan.op);
  cuda::launch_kernel(context, kernel, plan.tiling.blocks, kernel.threads, &params);
}

void copy_all(const WorkContext& context, const void* work_params) {
  const Bucket& bucket = **static_cast<Bucket* const*>(work_params);
  for (std::size_t k = 0; k < bucket.places(); ++k) {
    const Tensor& from = bucket.inputs()[k];
    const Tensor& to = bucket.outputs()[k];
    if (to.data() == from.data()) continue;
    context.device->copy({context.native_stream}, to.data(), from.data(), from.bytes());
  }
}

}  // namespace

void bucket_preload(const fabric::Fabric& fabric) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::min}) {
      cuda::co_resident_blocks(fabric, cuda::bucket_kernel(dtype, op));
    }
  }
}

std::int32_t bucket_blocks(const fabric::Fabric& fabric, const Plan& plan,
                           std::int32_t max_blocks) {
  const Kernel kernel = cuda::bucket_kernel(plan.dtype, plan.op);
  std::int32_t most = std::min(cuda::kBucketBlocks, cuda::co_resident_blocks(fabric, kernel));
  if (max_blocks > 0) most = std::min(most, max_blocks);
  const std::int64_t chunk = plan.in.chunk_elements * item_bytes(plan.dtype);
  const std::int64_t warps = schedule::ceil_div(chunk, kSmallestItem);
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(schedule::ceil_div(warps, cuda::kBucketWarps), 1, most));
}

Work bucket_work(fabric::Fabric& fabric, const Plan& plan, Rank rank) {
  if (!plan.bucket->table) plan.bucket->table = make_table(fabric.device(Rank(0)), plan);
  return Work::make("bucket", run, Launch{&fabric, &plan, rank});
}

Work bucket_copies(const Plan& plan) {
  const auto outputs = plan.bucket->outputs();
  const auto same = [](const Tensor& a, const Tensor& b) { return a.data() == b.data(); };
  const auto inputs = plan.bucket->inputs();
  if (std::equal(inputs.begin(), inputs.end(), outputs.begin(), outputs.end(), same)) return {};
  return Work::make("bucket_copies", copy_all, plan.bucket);
}

}  // namespace weft::collectives
