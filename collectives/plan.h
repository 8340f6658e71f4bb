// A checked, fully prepared collective: all that an executor needs to run it, as plain data.
//
// The path of every call: validate -> select -> tile -> prepare all ranks -> launch all ranks.
// What all collectives share is in plan.cc; what is particular stands in one file a collective.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "collectives/schedule/schedule.h"
#include "collectives/schedule/tiling.h"
#include "core/base/types.h"
#include "core/tensor/dtype.h"
#include "fabric/signal.h"

namespace weft::collectives {

enum class Collective : std::uint8_t { all_reduce };
enum class ReduceOp : std::uint8_t { sum, avg, min, max, prod };
enum class Algorithm : std::uint8_t { automatic, ring };

inline constexpr int kMaxRanks = 64;
inline constexpr int kMaxCudaRanks = 16;

// A planned fault, for tests: when `rank` is about to begin `step`, it stops or waits.
struct FaultPoint {
  enum class Action : std::uint8_t { none, stop, delay };
  Action action = Action::none;
  std::int32_t rank = -1;
  std::int32_t step = -1;
  std::int64_t delay_ns = 0;
};

struct Plan {
  Collective collective = Collective::all_reduce;
  Algorithm algorithm = Algorithm::ring;
  ReduceOp op = ReduceOp::sum;
  DType dtype = DType::f32;
  WorldSize world{1};
  schedule::Tiling tiling{};
  fabric::WaitLimits limits{};
  FaultPoint fault{};
  const schedule::Schedule* schedule = nullptr;  // materialised; lives as long as the process
  // Contiguous, `tiling.elements` long, input may be exactly output. Indexed by rank.
  std::array<const void*, kMaxRanks> inputs{};
  std::array<void*, kMaxRanks> outputs{};
};

}  // namespace weft::collectives
