// The works on simulated devices, by plain C++. See works.h.
#include <atomic>
#include <cstring>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/device/sim/scheduler.h"
#include "topology/probe/works.h"

namespace weft::topology {
namespace {

// Where the device has no access nothing is copied: whoever verifies sees that.
bool may_access(const WorkContext& context, const void* memory, std::int64_t bytes) {
  return !context.device->access_problem(memory, Bytes(bytes));
}

void copy(const WorkContext& context, const void* work_params) {
  const auto& params = *static_cast<const CopyParams*>(work_params);
  if (!may_access(context, params.from, params.bytes)) return;
  if (!may_access(context, params.to, params.bytes)) return;
  std::memcpy(params.to, params.from, static_cast<std::size_t>(params.bytes));
}

std::uint32_t load(const std::uint32_t* word) {
  return std::atomic_ref(*const_cast<std::uint32_t*>(word)).load(std::memory_order_relaxed);
}
void store(std::uint32_t* word, std::uint32_t value) {
  std::atomic_ref(*word).store(value, std::memory_order_relaxed);
}

// False: the deadline came first.
bool wait_for(const std::uint32_t* word, std::uint32_t goal, Deadline deadline) {
  SimScheduler::Wait wait;
  while (!Epoch(load(word)).reached(Epoch(goal))) {
    if (deadline.passed()) return false;
    wait.yield();
  }
  return true;
}

void gate(const WorkContext&, const void* work_params) {
  const auto& params = *static_cast<const GateParams*>(work_params);
  const Deadline deadline = Deadline::after_ns(params.timeout_ns);
  if (!wait_for(&params.gate->opened, params.goal, deadline)) store(&params.report->late, 1);
}

void flags(const WorkContext&, const void* work_params) {
  const auto& params = *static_cast<const FlagParams*>(work_params);
  const Deadline deadline = Deadline::after_ns(params.timeout_ns);
  std::int64_t start = now_ns();
  for (std::int32_t round = 1; round <= params.warm + params.rounds; ++round) {
    const std::uint32_t value = params.base + static_cast<std::uint32_t>(round);
    if (round == params.warm + 1) start = now_ns();
    if (params.serves) store(params.peers, value);
    if (!wait_for(params.mine, value, deadline)) {
      store(&params.report->late, 1);
      return;
    }
    if (!params.serves) store(params.peers, value);
  }
  params.report->ns = now_ns() - start;
}

constexpr ProbeWorks kSimWorks = {copy, gate, flags, [](Device&) {}};

}  // namespace

const ProbeWorks& probe_works(DeviceKind kind) {
  if (kind == DeviceKind::sim) return kSimWorks;
  const ProbeWorks* works = kind == DeviceKind::cuda ? cuda_probe_works() : nullptr;
  if (!works) {
    fail(ErrorCode::invalid_argument, "devices of kind ", kind_name(kind),
         " cannot be verified or measured by this build");
  }
  return *works;
}

}  // namespace weft::topology
