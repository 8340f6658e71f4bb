// The ring all-reduce in plain loads and stores: the reference that the bulk kernel is checked and
// timed against, and the kernel for memory that bulk copies cannot take.
//
// Invariants
//   1. A block does one piece after the other, all its threads together; one thread speaks for it.
//   2. Data a peer wrote is read by plain loads after the one fence of its wait, never through the
//      read-only cache.
#include "collectives/executor/cuda/reduce.cuh"
#include "collectives/executor/cuda/ring.cuh"

namespace weft::collectives::cuda {
namespace {

constexpr int kThreads = 512;

// Elements at any address: whole where they are aligned, else byte by byte.
template <class T>
__device__ T load(const std::byte* at) {
  if (reinterpret_cast<std::uintptr_t>(at) % sizeof(T) == 0) return *reinterpret_cast<const T*>(at);
  T value;
  for (std::size_t i = 0; i < sizeof(T); ++i) reinterpret_cast<std::byte*>(&value)[i] = at[i];
  return value;
}

template <class T>
__device__ void store(std::byte* at, T value) {
  if (reinterpret_cast<std::uintptr_t>(at) % sizeof(T) == 0) {
    *reinterpret_cast<T*>(at) = value;
  } else {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      at[i] = reinterpret_cast<const std::byte*>(&value)[i];
  }
}

// Where the elements of a piece come from and go to; null: nowhere.
struct Flow {
  const std::byte* own = nullptr;      // the rank's input, or its output when it only passes on
  const std::byte* partial = nullptr;  // the slot
  std::byte* push = nullptr;
  std::byte* keep = nullptr;
  std::int32_t bytes = 0;
};

__device__ Flow flow(const RingParams& params, const Slots& here, const Slots& there,
                     const RoundStep& at, const Item& item) {
  Flow flow;
  flow.bytes = item.bytes;
  flow.own = (at.forwards() ? params.output : params.input) + item.offset;
  if (at.reduces()) flow.partial = here.at(item.slot_read);
  if (at.to_slot()) {
    flow.push = there.at(item.slot_pushed);
  } else if (at.to_output()) {
    flow.push = params.next_output + item.offset;
  }
  if (at.step.keep) flow.keep = params.output + item.offset;
  return flow;
}

__device__ void move_piece(const RingParams& params, const schedule::Step& step, const Flow& flow) {
  const auto body = [&](auto combine) {
    using T = typename decltype(combine)::type;
    const int size = static_cast<int>(sizeof(T));
    for (int at = static_cast<int>(threadIdx.x) * size; at < flow.bytes; at += kThreads * size) {
      T value = load<T>(flow.own + at);
      if (flow.partial) value = combine(load<T>(flow.partial + at), value);
      if (flow.push) store<T>(flow.push + at, value);
      if (flow.keep) store<T>(flow.keep + at, value);
    }
  };
  with_combine(params.dtype, params.op, step.last_sum, params.world.value(), body);
}

// May the block move this piece now? Asked by one thread.
__device__ bool may_move(const RingParams& params, const RoundStep& at, const Item& item,
                         fabric::cuda::LaneWait& data, fabric::cuda::LaneWait& credit,
                         fabric::cuda::FaultLatch& latch) {
  if (at.waits() && !data.reach(item.before.received, at.position, latch)) return false;
  const auto slots = static_cast<std::uint32_t>(params.tiling.slots);
  if (!at.to_slot() || item.before.slots_pushed < slots) return true;
  return credit.reach(item.before.slots_pushed + 1 - slots, at.position, latch);
}

__global__ void __launch_bounds__(kThreads, 1) run(const __grid_constant__ RingParams params) {
  __shared__ std::uint32_t left;
  const int block = static_cast<int>(blockIdx.x);
  const bool speaks = threadIdx.x == 0;
  if (speaks) left = 0;
  std::uint32_t* left_word = fabric::cuda::left_word(params.arena, params.layout, block);
  if (!fabric::cuda::begin_block(left_word)) return;
  fabric::cuda::FaultLatch latch(&left, params.records + block, params.limits, left_word);
  const Lanes lanes(params, block);
  const Slots here(params, params.arena, block);
  const Slots there(params, params.next_arena, block);
  fabric::cuda::LaneWait data = lanes.wait_data(params);
  fabric::cuda::LaneWait credit = lanes.wait_credit(params);
  fabric::cuda::BlockLog log(params.chunks, block);
  if (speaks) log.begin();

  const Counts end = for_each_step(params, block, [&](const RoundStep& at) {
    if (speaks) pass_fault_point(params, at, latch);
    for (int index = 0; index < at.pieces; ++index) {
      const Item item = at.item(index);
      const std::int64_t begun = log.now();
      if (speaks && !latch.left()) may_move(params, at, item, data, credit, latch);
      __syncthreads();
      if (latch.left()) return false;
      if (!at.moves()) continue;
      const std::int64_t ready = log.now();
      move_piece(params, at.step, flow(params, here, there, at, item));
      __syncthreads();
      if (!speaks) continue;
      const std::int64_t moved = log.now();
      if (at.step.target != schedule::Target::none) {
        fabric::cuda::publish(lanes.data_out, lanes.start.sent + item.before.moved + 1);
      }
      if (at.reduces()) {
        fabric::cuda::publish(lanes.credit_out,
                              lanes.start.slots_read + item.before.slots_read + 1);
      }
      if (!log.on()) continue;
      fabric::ChunkRecord record = chunk_record(params, at, item, index, block);
      record.t_wait = begun;
      record.t_ready = ready;
      record.t_moved = moved;
      record.t_signal = log.now();
      log.put(item.before.moved, record);
    }
    return true;
  });
  if (speaks && params.world.value() > 1 && !latch.left()) lanes.finish(params, end, latch);
  if (speaks && !latch.left()) log.end(end.moved, params.limits.operation, block);
}

}  // namespace

Kernel ring_simple_kernel() { return {reinterpret_cast<const void*>(&run), kThreads, 0}; }

}  // namespace weft::collectives::cuda
