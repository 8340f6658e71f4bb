#include "collectives/executor/cuda/table_pool.h"

#include <algorithm>
#include <bit>
#include <mutex>
#include <vector>

#include "core/device/cuda/cuda_api.h"

namespace weft::collectives {
namespace {

constexpr std::size_t kSmallest = 4096;  // words

struct Block {
  std::uint64_t* memory = nullptr;
  std::size_t words = 0;
};

struct Pool {
  std::mutex mutex;
  std::vector<Block> free;  // has room for every block there is: giving back does not allocate
  std::size_t made = 0;
};

Pool& pool() {
  static Pool& only = *new Pool;
  return only;
}

struct GiveBack {
  Block block;
  void operator()(std::uint64_t*) const noexcept {
    const std::scoped_lock lock(pool().mutex);
    pool().free.push_back(block);
  }
};

}  // namespace

std::shared_ptr<std::uint64_t[]> lend_table(Device& device, std::size_t words) {
  const std::size_t wanted = std::bit_ceil(std::max(words, kSmallest));
  Block block;
  {
    Pool& p = pool();
    const std::scoped_lock lock(p.mutex);
    const auto fits = [&](const Block& b) { return b.words == wanted; };
    const auto found = std::find_if(p.free.begin(), p.free.end(), fits);
    if (found != p.free.end()) {
      block = *found;
      *found = p.free.back();
      p.free.pop_back();
    } else {
      const OutsideCaptures outside;  // the caller may be capturing, and any thread too
      p.free.reserve(p.made + 1);
      const Bytes bytes(static_cast<std::int64_t>(wanted * sizeof(std::uint64_t)));
      block = {static_cast<std::uint64_t*>(device.allocate_pinned(bytes)), wanted};
      ++p.made;
    }
  }
  return {block.memory, GiveBack{block}};
}

}  // namespace weft::collectives
