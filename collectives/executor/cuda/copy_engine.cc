#include "collectives/executor/cuda/copy_engine.h"

#include <algorithm>

#include "collectives/schedule/tiling.h"
#include "core/device/cuda/cuda_api.h"

namespace weft::collectives {

// A piece of every rank's chunk.
struct CopyEngines::Piece {
  std::int64_t number = 0;
  std::size_t use = 0;     // which slot of each source; of the last piece the last
  std::int64_t begin = 0;  // elements from the chunk's start
  std::int64_t count = 0;
  std::int64_t chunk = 0;       // elements of a chunk
  std::int64_t slot_bytes = 0;  // from slot to slot
  bool pushed = false;          // the kernel stores the result at the others

  schedule::Range of(const Plan& plan, std::size_t owner) const {
    const std::int64_t all = plan.tiling.elements;
    const std::int64_t first = static_cast<std::int64_t>(owner) * chunk;
    const std::int64_t end = std::min(first + chunk, all);
    const std::int64_t at = std::min(first + begin, all);
    return {at, std::max(at, std::min(at + count, end))};
  }
};

namespace {

constexpr std::int64_t kAlign = 256;  // bytes, of slots
// Blocks of a sum: as many as keep up with the copies, since more take memory bandwidth from them;
// and of one that stores its result at the others by itself.
constexpr unsigned kSumBlocks = 32;
constexpr unsigned kPushBlocks = 264;
constexpr int kPack = 16;

struct Launch {
  const CopyEngines* engines = nullptr;
  const Plan* plan = nullptr;
  LentScratch scratch{};
  MotionPlan motion{};
};

void run_all_reduce(const WorkContext&, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  launch.engines->all_reduce(*launch.plan, launch.scratch);
}

void run_move(const WorkContext&, const void* work_params) {
  const Launch& launch = *static_cast<const Launch*>(work_params);
  launch.engines->move(*launch.plan, launch.motion);
}

void launch_sum(Device& device, Stream stream, cuda::SumParams params) {
  const cuda::Kernel kernel = cuda::copy_engine_kernel(params.dtype, params.op);
  const std::int64_t all = schedule::ceil_div(params.elements, kernel.threads);
  const unsigned most = params.target_count > 1 ? kPushBlocks : kSumBlocks;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(std::min<std::int64_t>(all, most)));
  config.blockDim = dim3(static_cast<unsigned>(kernel.threads));
  config.stream = static_cast<cudaStream_t>(stream.handle);
  void* parameters[] = {&params};
  const int ordinal = device.id().ordinal.value();
  const CurrentDevice current(ordinal);
  check_cuda(cuda_api().launch_kernel(&config, kernel.function, parameters), "cudaLaunchKernelEx",
             ordinal);
}

const std::byte* input_of(const Plan& plan, std::size_t rank) {
  return static_cast<const std::byte*>(plan.inputs[rank]);
}
std::byte* output_of(const Plan& plan, std::size_t rank) {
  return static_cast<std::byte*>(plan.outputs[rank]);
}

}  // namespace

CopyEngines::CopyEngines(const fabric::Fabric& fabric, const Options& options) : options_(options) {
  const auto ways = [&](Device& device) {
    std::vector<Way> made;
    for (int i = 0; i < options_.lanes; ++i) {
      made.push_back({device.create_stream(StreamPriority::high), device.create_event()});
    }
    return made;
  };
  for (int r = 0; r < fabric.world().value(); ++r) {
    Device& device = fabric.device(Rank(r));
    Member member{&device,
                  fabric.stream(Rank(r)),
                  fabric.arena(Rank(r)).scratch(),
                  device.create_event(),
                  ways(device),
                  ways(device)};
    for (int s = 0; s < options_.slots; ++s) member.summed.push_back(device.create_event());
    members_.push_back(std::move(member));
  }
}

CopyEngines::~CopyEngines() {
  for (const Member& member : members_) {
    for (const auto* ways : {&member.up, &member.down}) {
      for (const Way& way : *ways) {
        member.device->destroy_stream(way.stream);
        member.device->destroy_event(way.event);
      }
    }
    for (const Event event : member.summed) member.device->destroy_event(event);
    member.device->destroy_event(member.event);
  }
}

// Every stream of every rank waits for what every rank's stream waits for.
void CopyEngines::begin() const {
  const Member& first = members_.front();
  const bool captured = first.device->is_capturing(first.stream);
  for (const Member& member : members_) {
    if (&member == &first || (captured && !member.device->is_capturing(member.stream))) continue;
    member.device->record(member.event, member.stream);
    first.device->wait(first.stream, member.event);
  }
  first.device->record(first.event, first.stream);
  for (const Member& member : members_) {
    if (&member != &first) member.device->wait(member.stream, first.event);
    for (const Way& way : member.up) member.device->wait(way.stream, first.event);
    for (const Way& way : member.down) member.device->wait(way.stream, first.event);
  }
}

// Every rank's stream waits for all streams.
void CopyEngines::end() const {
  const Member& first = members_.front();
  for (const Member& member : members_) {
    for (const auto* ways : {&member.up, &member.down}) {
      for (const Way& way : *ways) {
        member.device->record(way.event, way.stream);
        first.device->wait(first.stream, way.event);
      }
    }
    if (&member == &first) continue;
    member.device->record(member.event, member.stream);
    first.device->wait(first.stream, member.event);
  }
  first.device->record(first.event, first.stream);
  for (const Member& member : members_) {
    if (&member != &first) member.device->wait(member.stream, first.event);
  }
}

// Copies that were enqueued before a failure are waited for like all others.
template <class Enqueue>
void CopyEngines::joined(const Enqueue& enqueue) const {
  try {
    begin();
    enqueue();
  } catch (...) {
    try {
      end();
    } catch (const Error&) {  // on a device that is lost nothing runs
    }
    throw;
  }
  end();
}

std::byte* CopyEngines::slot(const ScratchPart& scratch, const Piece& piece, std::size_t at,
                             std::size_t from) const {
  const auto source = static_cast<std::int64_t>(from < at ? from : from - 1);
  const std::int64_t number = source * options_.slots + static_cast<std::int64_t>(piece.use);
  return members_[at].scratch + scratch.offset + number * piece.slot_bytes;
}

// Into the slots of the owners, beginning with the rank after each.
void CopyEngines::push(const Plan& plan, const ScratchPart& scratch, const Piece& piece) const {
  const std::size_t n = members_.size();
  const std::int64_t item = item_bytes(plan.dtype);
  const std::size_t use = piece.use;
  for (std::size_t k = 1; k < n; ++k) {
    for (std::size_t r = 0; r < n; ++r) {
      const Member& from = members_[r];
      const Member& owner = members_[(r + k) % n];
      const schedule::Range range = piece.of(plan, (r + k) % n);
      if (range.size() == 0) continue;
      const Way& way = from.up[static_cast<std::size_t>(piece.number) % from.up.size()];
      if (piece.number >= options_.slots) from.device->wait(way.stream, owner.summed[use]);
      from.device->copy(way.stream, slot(scratch, piece, (r + k) % n, r),
                        input_of(plan, r) + range.begin * item, Bytes(range.size() * item));
      from.device->record(way.event, way.stream);
      owner.device->wait(owner.stream, way.event);
    }
  }
}

void CopyEngines::sum(const Plan& plan, const ScratchPart& scratch, const Piece& piece) const {
  const std::size_t n = members_.size();
  const std::int64_t item = item_bytes(plan.dtype);
  const std::size_t use = piece.use;
  for (std::size_t owner = 0; owner < n; ++owner) {
    const schedule::Range range = piece.of(plan, owner);
    if (range.size() == 0) continue;
    const Member& member = members_[owner];
    const std::int64_t offset = range.begin * item;
    cuda::SumParams params;
    std::uintptr_t addresses = 0;
    for (std::size_t r = 0; r < n; ++r) {
      params.sources[r] = r == owner ? input_of(plan, r) + offset : slot(scratch, piece, owner, r);
      addresses |= reinterpret_cast<std::uintptr_t>(params.sources[r]);
    }
    // Own output last.
    params.target_count = piece.pushed ? static_cast<std::int32_t>(n) : 1;
    for (int t = 0; t < params.target_count; ++t) {
      const std::size_t to =
          (owner + 1 + n - static_cast<std::size_t>(params.target_count - t)) % n;
      params.targets[t] = output_of(plan, to) + offset;
      addresses |= reinterpret_cast<std::uintptr_t>(params.targets[t]);
    }
    params.packed = addresses % kPack == 0;
    params.elements = range.size();
    params.world = static_cast<std::int32_t>(n);
    params.dtype = plan.dtype;
    params.op = plan.op;
    launch_sum(*member.device, member.stream, params);
    member.device->record(member.summed[use], member.stream);
    if (piece.pushed) continue;
    const Way& way = member.down[static_cast<std::size_t>(piece.number) % member.down.size()];
    member.device->wait(way.stream, member.summed[use]);
    for (std::size_t k = 1; k < n; ++k) {
      member.device->copy(way.stream, output_of(plan, (owner + k) % n) + offset,
                          output_of(plan, owner) + offset, Bytes(range.size() * item));
    }
  }
}

// Behind the sums that are enqueued now nobody reads or writes this part of the slots.
void CopyEngines::give_back(const LentScratch& scratch, std::int64_t begin,
                            std::int64_t end) const {
  for (const Member& member : members_) {
    for (const bool ones : {false, true}) {
      const ScratchPart& part = ones ? scratch.ones : scratch.zeros;
      const std::int64_t from = std::max(begin, part.offset);
      const std::int64_t to = std::min(end, part.offset + part.bytes);
      if (from >= to) continue;
      member.device->fill(member.stream, member.scratch + from, ones ? 0xff : 0, Bytes(to - from));
    }
  }
}

void CopyEngines::all_reduce(const Plan& plan, const LentScratch& scratch) const {
  const auto n = static_cast<std::int64_t>(members_.size());
  const std::int64_t item = item_bytes(plan.dtype);
  const std::int64_t align = kAlign / item;
  const ScratchPart& slots = scratch.slots;
  Piece piece;
  piece.chunk = schedule::ceil_div(schedule::ceil_div(plan.tiling.elements, n), align) * align;
  piece.slot_bytes = slots.bytes / ((n - 1) * options_.slots) / kAlign * kAlign;
  const std::int64_t wanted = std::max<std::int64_t>(
      options_.pieces, schedule::ceil_div(piece.chunk * item, piece.slot_bytes));
  const std::int64_t most =
      schedule::ceil_div(schedule::ceil_div(piece.chunk, wanted), align) * align;
  const std::int64_t pieces = schedule::ceil_div(piece.chunk, most);
  // With two ranks and slots, the first slot is done with one piece before the end: what is lent
  // there goes back while the last piece is on its way.
  std::int64_t lent = slots.offset;
  joined([&] {
    for (; piece.begin < piece.chunk; piece.begin += piece.count, ++piece.number) {
      const std::int64_t left = pieces - 1 - piece.number;
      piece.use = static_cast<std::size_t>(options_.slots - 1 - left % options_.slots);
      piece.count = std::min(piece.chunk - piece.begin, most);
      piece.pushed = piece.begin + options_.pushed * most >= piece.chunk;
      push(plan, slots, piece);
      sum(plan, slots, piece);
      if (left == 1 && n == 2 && options_.slots == 2) {
        lent = slots.offset + piece.slot_bytes;
        give_back(scratch, slots.offset, lent);
      }
    }
    give_back(scratch, lent, slots.offset + slots.bytes);
  });
}

void CopyEngines::move(const Plan& plan, const MotionPlan& motion) const {
  joined([&] {
    for (std::size_t r = 0; r < members_.size(); ++r) move_from(r, plan, motion);
  });
}

// What rank r sends.
void CopyEngines::move_from(std::size_t r, const Plan& plan, const MotionPlan& motion) const {
  const std::size_t n = members_.size();
  const std::int64_t item = item_bytes(plan.dtype);
  const Member& member = members_[r];
  const MoveList list = moves_of(motion, plan, Rank(static_cast<std::int32_t>(r)));
  for (const Move& move : list.span()) {
    if (move.from == kAllOfThem) fail(ErrorCode::internal, "copy engines do not sum");
    const auto source = static_cast<std::size_t>(move.from);
    const std::byte* from = input_of(plan, source) + move.from_offset * item;
    for (std::size_t k = 1; k <= n; ++k) {
      const std::size_t to = (r + k) % n;
      if (move.to != kAllOfThem && static_cast<std::size_t>(move.to) != to) continue;
      std::byte* target = output_of(plan, to) + move.to_offset * item;
      if (target == from) continue;
      const Way& way = to == r ? member.down.front() : member.up[k % member.up.size()];
      member.device->copy(way.stream, target, from, Bytes(move.count * item));
    }
  }
}

std::int64_t copy_engine_least(WorldSize world) {
  constexpr int kMostSlots = 8;
  return kMostSlots * kAlign * std::max(1, world.value() - 1);
}

void copy_engine_preload(const fabric::Fabric& fabric) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    for (const ReduceOp op : {ReduceOp::sum, ReduceOp::avg, ReduceOp::min}) {
      cuda::co_resident_blocks(fabric, cuda::copy_engine_kernel(dtype, op));
    }
  }
}

Work copy_engine_work(const CopyEngines& engines, const Plan& plan, const LentScratch& scratch,
                      Rank rank) {
  if (rank.value() != 0) return {};
  return Work::make("copy_engine", run_all_reduce, Launch{&engines, &plan, scratch, {}});
}

Work copy_engine_move_work(const CopyEngines& engines, const Plan& plan, const MotionPlan& motion,
                           Rank rank) {
  if (rank.value() != 0) return {};
  return Work::make("copy_engine", run_move, Launch{&engines, &plan, {}, motion});
}

}  // namespace weft::collectives
