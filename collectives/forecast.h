// What an all-reduce takes on a machine that need not exist: the predictor with the schedules and
// tilings of the algorithms, one rank on each device of a topology.
#pragma once

#include <cstdint>

#include "collectives/plan.h"
#include "collectives/schedule/predict.h"
#include "topology/topology.h"

namespace weft::collectives {

// What a replayed kernel with two barriers and no data takes on two H200: what a machine that is
// not simulated pays beside its transfers.
inline constexpr double kLaunchSeconds = 3.2e-6;

// What every hop of a ring takes beside the link, once a chunk: a piece is loaded, summed and
// stored one after the other. From replayed rings of 1 KiB (10.1 us) and 64 KiB (13.3 us, pieces of
// 16 KiB) on two H200.
inline constexpr double kRingHopSeconds = 2.7e-6;
inline constexpr double kRingHopRate = 11e9;  // bytes of a piece per second

// Rates of links are those that the engine of the algorithm gave, where these were measured: pushes
// or pulls of kernels, or copy engines. On a machine that is not simulated kLaunchSeconds is added,
// and what a ring's hops take. `bytes` of each rank's vector. `group_size`: as groups_of() takes
// it, of `hierarchical` only. Throws InvalidArgument for no devices, a size below 0, `automatic`
// and what groups_of() refuses, TopologyError for a link that is needed and whose rate is not
// known.
schedule::Prediction forecast_all_reduce(const topology::Topology& topology, Algorithm algorithm,
                                         std::int64_t bytes, int group_size);

}  // namespace weft::collectives
