// Traces of single chunks: what every piece of every operation did, and when.
//
// Written by the kernel of the ring on CUDA and, for every algorithm, by simulated devices, whose
// times are those of the simulator on this host; beside these stands what the links that they stand
// for would take, which is predicted.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/event_ring.h"
#include "fabric/chunk_log.h"
#include "fabric/fabric.h"

namespace weft::collectives {

struct Plan;

struct ChunkTrace {
  std::vector<fabric::ChunkRecord> records;  // by rank, block, then as they were written;
                                             // all times on the host's clock (now_ns)
  std::uint64_t dropped = 0;                 // with what faults ended
  std::int64_t residual_ns = 0;              // to which the devices' clocks are known on the host's
  ClockSource clock = ClockSource::host;
  // Of simulated fabrics, times from the operation's launch on.
  std::vector<fabric::ChunkRecord> predicted;
  std::uint64_t predicted_dropped = 0;
};

// Waits for what is in flight, then operations record their chunks; what was recorded before is
// forgotten. Throws CollectiveTimeout, OutOfMemory, FabricClosed.
void start_chunks(fabric::Fabric& fabric);
// Waits for what is in flight and gives what was recorded. Throws CollectiveTimeout; empty without
// a start.
ChunkTrace stop_chunks(fabric::Fabric& fabric);

// A simulated operation that is about to be launched: what is predicted of it, where that is asked.
void predict_chunks(fabric::Fabric& fabric, const Plan& plan);

}  // namespace weft::collectives
