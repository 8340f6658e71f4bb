// Measuring what links give: the trials of a plan, run on devices through the Device interface.
//
// A sample is enqueued while a gate holds its streams, so that what the host takes to enqueue is
// not measured: events around the transfers, on the devices' own clocks. Of the copy engines it is
// that of the device that sends. A latency is half a flag's way to the other device and back.
//
// Invariants
//   1. Every wait has a deadline, on the host and on the devices. However it ends, the devices are
//      waited for and everything allocated goes back; peer access stays enabled.
//   2. What was measured before a failure is kept, and the failure noted.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "topology/probe/plan.h"
#include "topology/topology.h"

namespace weft::topology {

struct Measured {
  std::vector<Measurement> figures;  // rates in bytes per second; latencies in seconds, one way
  std::vector<std::string> notes;
  double planned_seconds = 0;
  double seconds = 0;
};

// Called between trials with the share done, 0 to 1, and what comes next. What it throws ends the
// measurement and comes out of measure_devices().
using Progress = std::function<void(double done, const std::string& next)>;

struct MeasureLimits {
  double wait_seconds = 10;   // any one wait
  double total_seconds = 60;  // after that the rest of the plan is left out
};

// `devices`: those that the plan numbers. Memory of twice the plan's largest transfer is allocated
// on each, and as much pinned host memory as the host's transfers need. Throws what `progress`
// throws, and OutOfMemory and other errors of setting up.
Measured measure_devices(std::span<Device* const> devices, const Plan& plan,
                         const MeasureLimits& limits, const Progress& progress);

}  // namespace weft::topology
