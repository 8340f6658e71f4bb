// Collectives by the copy engines, for the largest vectors: they move the bytes, a small kernel
// sums. Nothing spins: CUDA events order everything, across devices, in a graph or not.
//
// All ranks' work is enqueued by rank 0's; the other ranks' works are empty. It asks of the caller:
// rank 0's work is submitted when every rank's stream already waits for what the operation must
// wait for; and no work of the operation is needed after it. When it returns, every rank's stream
// waits for the end of the whole operation, also when it throws. If rank 0's stream is being
// captured, all becomes part of its graph: what other ranks' streams hold and is not in that graph
// is then not waited for.
//
// All-reduce: a rank owns a chunk; every rank copies its part of a piece of it into a slot of the
// owner; the owner sums in rank order into its output, and copies the result to the others (of the
// last piece the kernel itself stores it there). In place is right: of an element, an output is
// overwritten after every input has been copied or summed.
//
// Any dtype, op, length and alignment to the element (fast at multiples of 16 bytes). No planned
// faults: there is no step at which a rank could stop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "collectives/executor/cuda/move.h"
#include "collectives/executor/cuda/push_two_shot.h"
#include "collectives/plan.h"
#include "core/device/device.h"
#include "fabric/fabric.h"

namespace weft::collectives {
namespace cuda {

struct SumParams {
  const std::byte* sources[kMaxCudaRanks] = {};
  std::byte* targets[kMaxCudaRanks] = {};
  std::int64_t elements = 0;
  std::int32_t world = 1;
  std::int32_t target_count = 1;
  bool packed = false;  // all addresses are multiples of 16
  DType dtype = DType::f32;
  ReduceOp op = ReduceOp::sum;
};
static_assert(std::is_trivially_copyable_v<SumParams> && sizeof(SumParams) <= 4000);

// Every target = sum of the sources, in their order. Any grid.
// Several dtypes and ops share one.
Kernel copy_engine_kernel(DType dtype, ReduceOp op);

}  // namespace cuda

// Scratch for slots, of which other families keep parts all zero and all ones between operations.
struct LentScratch {
  ScratchPart slots{};
  ScratchPart zeros{};
  ScratchPart ones{};
};

// The streams and events that the works use: one object a fabric, made before the first launch; it
// may outlive the fabric's streams, not its devices. Not for two launches at a time: the fabric's
// launch lock sees to that.
class CopyEngines {
 public:
  struct Options {
    int lanes = 1;   // streams a rank and direction
    int slots = 2;   // a source
    int pieces = 2;  // of a chunk at least
    int pushed = 1;  // the last pieces, whose results the kernel stores at the others by itself:
                     // there no copy is left to overlap with
  };
  CopyEngines(const fabric::Fabric& fabric, const Options& options);
  explicit CopyEngines(const fabric::Fabric& fabric) : CopyEngines(fabric, Options()) {}
  ~CopyEngines();
  CopyEngines(const CopyEngines&) = delete;
  CopyEngines& operator=(const CopyEngines&) = delete;

  // Enqueue one operation of all ranks.
  // Leaves in `scratch` what other families need to find there.
  void all_reduce(const Plan& plan, const LentScratch& scratch) const;
  void move(const Plan& plan, const MotionPlan& motion) const;

 private:
  struct Way {  // a stream for copies, and the event behind what it last did
    Stream stream{};
    Event event{};
  };
  struct Member {
    Device* device = nullptr;
    Stream stream{};  // the fabric's
    std::byte* scratch = nullptr;
    Event event{};
    std::vector<Way> up;          // to the owners' slots
    std::vector<Way> down;        // results to the others
    std::vector<Event> summed{};  // a slot: what was in it has been read
  };
  struct Piece;

  void begin() const;
  void end() const;
  template <class Enqueue>
  void joined(const Enqueue& enqueue) const;
  void push(const Plan& plan, const ScratchPart& scratch, const Piece& piece) const;
  void sum(const Plan& plan, const ScratchPart& scratch, const Piece& piece) const;
  void move_from(std::size_t rank, const Plan& plan, const MotionPlan& motion) const;
  void give_back(const LentScratch& scratch, std::int64_t begin, std::int64_t end) const;
  std::byte* slot(const ScratchPart& scratch, const Piece& piece, std::size_t at,
                  std::size_t from) const;

  Options options_;
  std::vector<Member> members_;  // by rank
};

// Loads the kernels on every device of the fabric.
void copy_engine_preload(const fabric::Fabric& fabric);
// The scratch that the all-reduce needs: one least slot a source.
std::int64_t copy_engine_least(WorldSize world);
// The work of one rank; empty but for rank 0. Plan and engines outlive it; `plan.tiling.elements`
// is all it takes of the tiling.
Work copy_engine_work(const CopyEngines& engines, const Plan& plan, const LentScratch& scratch,
                      Rank rank);
// The same for motions without sums.
Work copy_engine_move_work(const CopyEngines& engines, const Plan& plan, const MotionPlan& motion,
                           Rank rank);

}  // namespace weft::collectives
