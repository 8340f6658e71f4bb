// Compares a GPU's clock with the host's: the round with the shortest answer bounds the difference
// (Cristian, "Probabilistic clock synchronization", Distributed Computing 3, 1989).
#include "collectives/executor/cuda/clock.cuh"

#include <algorithm>
#include <atomic>
#include <memory>

#include "collectives/executor/cuda/executor.h"
#include "core/base/clock.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

using cuda::ClockTalk;

constexpr std::int64_t kLongestQueue = 10'000'000'000;  // ns, until the kernel runs

// False: no answer came.
bool ask(ClockTalk& talk, std::uint32_t round, std::int64_t& sent, std::int64_t& seen) {
  const std::int64_t deadline = now_ns() + (round == 1 ? kLongestQueue : cuda::kClockPatience);
  sent = now_ns();
  // sync(clock-asked): release - publishes the question; pairs with acquire in run() of clock.cu
  std::atomic_ref(talk.asked).store(round, std::memory_order_release);
  // sync(clock-answered): acquire - of the time behind the answer; pairs with release in run() of
  // clock.cu
  while (std::atomic_ref(talk.answered).load(std::memory_order_acquire) < round) {
    if (now_ns() > deadline) return false;
  }
  seen = now_ns();
  return true;
}

}  // namespace

ClockSample cuda_clock(const fabric::Fabric& fabric, Rank rank) {
  Device& device = fabric.device(rank);
  const auto release = [&](ClockTalk* talk) { device.deallocate_pinned(talk); };
  const std::unique_ptr<ClockTalk, decltype(release)> talk(
      new (device.allocate_pinned(Bytes(sizeof(ClockTalk)))) ClockTalk(), release);
  cuda::load_kernel(cuda::clock_kernel(), device.id().ordinal.value());
  const Event event = device.create_event();
  ClockTalk* param = talk.get();
  const WorkContext context{&device, fabric.stream(rank).handle};
  cuda::launch_kernel(context, cuda::clock_kernel(), 1, 1, &param);
  device.record(event, fabric.stream(rank));
  ClockSample best;
  bool answered = true;
  for (std::uint32_t round = 1; answered && round <= cuda::kClockRounds; ++round) {
    std::int64_t sent = 0;
    std::int64_t seen = 0;
    answered = ask(*talk, round, sent, seen);
    if (!answered || round == 1 || (best.residual_ns > 0 && seen - sent >= 2 * best.residual_ns))
      continue;
    best = {talk->device_ns, sent + (seen - sent) / 2,
            std::max<std::int64_t>(1, (seen - sent) / 2)};
  }
  const bool ended = device.synchronize(event, Deadline::after_ns(10 * cuda::kClockPatience));
  device.destroy_event(event);
  if (!ended || best.residual_ns == 0) {
    fail(ErrorCode::collective_timeout, device.id().str(), " does not answer what time it is");
  }
  return best;
}

}  // namespace weft::collectives
