// A fabric with buffers, on which the flagged kernels (LL, Lamport) are checked and timed: plans
// are made by hand.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "collectives/plan.h"
#include "core/base/error.h"
#include "fabric/fabric.h"

namespace weft::bench {

// The ring is there to be mixed with the others.
enum class Family : std::uint8_t { ll, lamport, two_shot, ring };
inline constexpr Family kFamilies[] = {Family::ll, Family::lamport, Family::two_shot};
const char* name(Family family);

struct RigOptions {
  int ranks = 2;
  int devices = 1;  // rank r is on device r % devices
  std::int64_t scratch = 64 << 20;
  std::uint32_t first_epoch = 0;
  double timeout = 10;
  std::size_t bytes = 0;  // of each rank's input and output buffer
};

// One call on all ranks. Offsets are elements from the buffers' starts.
struct Call {
  Family family = Family::ll;
  DType dtype = DType::f32;
  collectives::ReduceOp op = collectives::ReduceOp::sum;
  std::int64_t elements = 0;
  std::int64_t in_offset = 0;
  std::int64_t out_offset = 0;
  bool in_place = false;     // the input is in the output buffer, at out_offset
  std::int32_t blocks = 0;   // 0: what the family advises
  std::int32_t absent = -1;  // a rank that is never launched
  collectives::FaultPoint fault{};
};

class Rig {
 public:
  explicit Rig(const RigOptions& options);
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  fabric::Fabric& fabric() { return *fabric_; }
  const RigOptions& options() const { return options_; }
  std::byte* input(int rank) const { return inputs_[static_cast<std::size_t>(rank)]; }
  std::byte* output(int rank) const { return outputs_[static_cast<std::size_t>(rank)]; }
  std::vector<cudaStream_t> streams() const;

  // Can the family take the call in this fabric?
  bool serves(const Call& call) const;
  collectives::Plan plan(const Call& call) const;
  // Starts the call on all ranks and returns.
  std::shared_ptr<fabric::Operation> start(const Call& call);
  // Starts it, waits for it; the error it ended with.
  std::optional<Error> run(const Call& call);
  // Puts the plan's works on the ranks' streams, past the fabric: for graphs.
  void enqueue(Family family, const collectives::Plan& plan);

 private:
  std::int32_t blocks_for(const Call& call, std::int64_t bytes) const;

  RigOptions options_;
  std::shared_ptr<fabric::Fabric> fabric_;
  std::vector<std::byte*> inputs_;
  std::vector<std::byte*> outputs_;
};

Work work_of(Family family, const fabric::Fabric& fabric, const collectives::Plan& plan, Rank rank);

int check_flagged(int devices);                 // flagged_check.cc; failures
void time_flagged(const std::string& libnccl);  // flagged_time.cc

}  // namespace weft::bench
