// One planned fault of a random collective, and what must come of it: the right error in time, the
// right culprit, a refusal until recover(), and then a collective whose every bit is right.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device/fault/fault_device.h"
#include "tests/collectives/sim_fabric.h"
#include "tests/soak/random_call.h"

namespace weft::testing {

enum class FaultKind : std::uint8_t {
  stopped,        // a rank leaves before a step that others need
  delayed,        // it begins such a step too late
  absent,         // it does not come to where the ranks meet
  aborted,        // another thread aborts while a rank has stopped
  submit_fails,   // the device refuses a rank's work
  record_fails,   // it takes the work, and refuses to say when it ends
  out_of_memory,  // the host has none left in the middle of the launch
  device_lost     // it is gone when the operation is waited for
};
inline constexpr std::array kFaultKinds = {FaultKind::stopped,       FaultKind::delayed,
                                           FaultKind::absent,        FaultKind::aborted,
                                           FaultKind::submit_fails,  FaultKind::record_fails,
                                           FaultKind::out_of_memory, FaultKind::device_lost};
const char* name(FaultKind kind);

// A fabric whose every device can be made to fail.
class FaultyFabric {
 public:
  static constexpr std::int64_t kBoardBytes = 8 << 20;

  explicit FaultyFabric(int world);

  fabric::Fabric& fabric() { return *fabric_; }
  FaultDevice& device(int rank) { return *devices_[static_cast<std::size_t>(rank)]; }
  Board& board() { return *board_; }

 private:
  std::vector<std::unique_ptr<FaultDevice>> devices_;
  std::shared_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<Board> board_;
};

struct TrialResult {
  std::string problem{};   // empty: all was as it must be
  double late_ms = 0;      // the error, past the timeout; or past the abort or the failing call
  double recovery_ms = 0;  // recover()
};

TrialResult try_fault(FaultyFabric& faulty, FaultKind kind, std::uint64_t seed,
                      std::int64_t timeout_ns);

}  // namespace weft::testing
