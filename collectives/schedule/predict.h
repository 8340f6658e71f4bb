// How long a schedule should take on a machine, and how many bytes it moves over each link.
//
// The model is alpha-beta (Hockney, "The communication challenge for MPP", Parallel Computing 20,
// 1994): a transfer of b bytes over a link costs latency + b / rate. Pieces are scheduled in the
// order in which they become ready, the lower rank first in a tie:
//   start = max(piece ready, link free), link free = start + b / rate, arrival = that + latency.
// A piece is ready when the rank's earlier pieces are under way, what it waits for has arrived, and
// the slot it goes to is free (a credit travels back with the link's latency). A link is an ordered
// pair of devices; lanes over one pair share it. Ranks on one device share its local rate, with a
// latency of kLocalLatency. A token costs a latency, a pull the way there and back. Chunks are as
// `tiling` cuts them: of uneven ones, all as long as the longest.
//
// Links that share ports (topology::shared_port: through NVSwitches, over PCIe, over a network)
// occupy, in place of a link, the port that the one device sends through and the one that the other
// receives through, each in turn; a transfer is through when both are. So a device sends to many at
// once no faster than to one, and what lies between the ports never blocks.
//
// Not modelled: launch cost, the reduction itself, `keep` (a local write that overlaps), sockets
// and switches that are narrower than the ports around them. So one rank alone takes no time.
//
// Invariants
//   1. link_bytes is exact: the sizes of the tiling, summed over the schedule's pushes.
//   2. seconds >= lower_bound_seconds: the bytes of the busiest link or port at its rate, and
//      its latency once.
//   3. The same arguments give the same figures.
//   4. The work is bounded: blocks count as one, and neighbouring pieces and rounds too where a
//      chunk has more than kMaxPieces. Rounds that count as one have the latency of each: a long
//      vector's stalls are not lost.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "collectives/schedule/schedule.h"
#include "collectives/schedule/tiling.h"
#include "core/base/function_ref.h"
#include "topology/topology.h"

namespace weft::schedule {

inline constexpr int kMaxPieces = 64;            // of a chunk, that are told apart
inline constexpr int kMaxEvents = 1 << 16;       // of all ranks: at many ranks, fewer pieces
inline constexpr double kLocalLatency = 1.2e-6;  // seconds; measured between streams of one H200

struct Prediction {
  double seconds = 0;
  double lower_bound_seconds = 0;
  std::vector<std::int64_t> link_bytes;  // world x world, row-major: bytes pushed from, to
  int bottleneck_from = -1;              // the two ranks that load the busiest link most; -1: none
  int bottleneck_to = -1;
};

// One piece of a step, as predicted; seconds from the start. Pieces and rounds that count as one
// (invariant 4) are one. Of a step that waits for everyone, first every peer's piece as one that is
// only waited for.
struct PieceTimes {
  int rank = 0;
  int step = 0;
  int round = 0;
  int piece = 0;
  Rank from = kNobody;
  Rank to = kNobody;
  std::size_t received = 0;  // of what comes from `from`, from 1 on; 0: of nobody, or of everyone
  std::size_t sent = 0;      // of what goes to `to`
  std::int64_t bytes = 0;
  double wait = 0;     // its rank was done with the piece before
  double ready = 0;    // what it waits for was there
  double moved = 0;    // it was through the link, or had been read
  double arrived = 0;  // it was at the other end, where it goes to one
};
using ObservePiece = FunctionRef<void(const PieceTimes&)>;

// `item_bytes`: of one element. `device_of_rank`: each rank's index in `topology`. A latency that
// the topology does not know counts as none. Throws TopologyError for a link whose rate is not
// known and InvalidArgument for ranks without a device or a schedule that cannot end (see
// verify.h). `observe` is called for every piece, in the order in which they become ready.
Prediction predict(const Schedule& schedule, const Tiling& tiling, std::int64_t item_bytes,
                   const topology::Topology& topology, std::span<const int> device_of_rank,
                   double local_bytes_per_second, const ObservePiece* observe = nullptr);

}  // namespace weft::schedule
