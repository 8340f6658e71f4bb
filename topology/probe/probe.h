// This machine: found, verified and measured.
#pragma once

#include <vector>

#include "topology/probe/measure.h"
#include "topology/probe/plan.h"
#include "topology/topology.h"

namespace weft::topology {

struct ProbeOptions {
  // Moves bytes between the devices, once a process, and quarantines pairs that lie. Otherwise peer
  // access is as the driver says, and `verified` not known.
  bool verify = true;
  std::vector<int> only{};  // ordinals of the devices to verify among; empty: all
};

// The CUDA devices, by CUDA, NVML and sysfs. Never throws: without a driver it is empty and says
// why in notes.
Topology probe(const ProbeOptions& options = {});

// What is known of the pairs, for a plan.
PlanInput guess(const Topology& machine);

// A copy of a probed machine with measurements. budget_seconds: what the plan may take; 0: 5 for up
// to 2 devices, 2.5 a device for more. Without devices there is nothing to measure, and a note says
// so. Throws InvalidArgument for simulated devices, whose figures are those of their preset; what
// `progress` throws; errors of setting up. Not where launches block (CUDA_LAUNCH_BLOCKING): nothing
// could be timed.
Topology measure(const Topology& machine, double budget_seconds, const Progress& progress);

}  // namespace weft::topology
