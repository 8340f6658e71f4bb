// Predictions without a fabric. See forecast.h.
#include "collectives/forecast.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "collectives/groups.h"
#include "collectives/request.h"
#include "collectives/schedule/hierarchical.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

constexpr std::int64_t kItem = 4;  // bytes of an element: it moves chunk boundaries only
// The ring of a GPU: blocks side by side, each with a few pieces under way.
constexpr schedule::TilingLimits kRingLimits{16 * 1024, 8, 64};

// What moves its bytes.
std::vector<std::string_view> engines_of(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::copy_engine:
      return {"copy_engine"};
    case Algorithm::one_shot_pull:
      return {"sm_pull"};
    case Algorithm::two_shot:
      return {"sm_pull", "sm_push"};
    default:
      return {"sm_push"};
  }
}

// What a machine that is not simulated takes beside its transfers.
double overhead(Algorithm algorithm, std::size_t ranks, std::int64_t chunk_bytes) {
  if (algorithm != Algorithm::ring) return kLaunchSeconds;
  const auto hops = static_cast<double>(2 * (ranks - 1));
  const auto piece = static_cast<double>(std::min(chunk_bytes, kRingLimits.piece_bytes));
  return kLaunchSeconds + hops * (kRingHopSeconds + piece / kRingHopRate);
}

schedule::Schedule make_schedule(const topology::Topology& topology, Algorithm algorithm,
                                 const std::vector<int>& devices, int group_size) {
  const WorldSize world(static_cast<std::int32_t>(devices.size()));
  std::optional<schedule::Schedule> made;
  if (algorithm == Algorithm::hierarchical) {
    made = schedule::hierarchical::materialise(world, groups_of(topology, devices, group_size));
  } else {
    made = kind_of(Collective::all_reduce).schedule(algorithm, world, Call{});
  }
  if (!made) {
    fail(ErrorCode::invalid_argument, "all_reduce has no algorithm \"", name(algorithm),
         "\" of which the time could be predicted");
  }
  return std::move(*made);
}

}  // namespace

schedule::Prediction forecast_all_reduce(const topology::Topology& topology, Algorithm algorithm,
                                         std::int64_t bytes, int group_size) {
  if (topology.size() == 0) {
    fail(ErrorCode::invalid_argument, "topology ", topology.name(), " has no devices");
  }
  if (bytes < 0) fail(ErrorCode::invalid_argument, "bytes must not be below 0, but is ", bytes);
  std::vector<int> devices(static_cast<std::size_t>(topology.size()));
  std::iota(devices.begin(), devices.end(), 0);
  const schedule::Schedule schedule = make_schedule(topology, algorithm, devices, group_size);
  const std::int64_t elements = schedule::ceil_div(bytes, kItem);
  const std::int64_t chunk = schedule.inputs() > 1
                                 ? schedule::aligned_chunk(elements, kItem, schedule.inputs())
                                 : elements;
  // What takes one hop is moved whole; a ring is a pipeline.
  const std::int64_t whole =
      schedule::ceil_div(std::max<std::int64_t>(1, chunk * kItem), schedule::Tiling::kAlign) *
      schedule::Tiling::kAlign;
  const auto limits =
      algorithm == Algorithm::ring ? kRingLimits : schedule::TilingLimits{whole, 1, 1};
  const schedule::Tiling tiling = schedule::cut_chunks(elements, chunk, kItem, limits);
  schedule::Prediction prediction =
      topology.measurements().empty()
          ? schedule::predict(schedule, tiling, kItem, topology, devices, kLocalRate)
          : schedule::predict(schedule, tiling, kItem, topology.with_engines(engines_of(algorithm)),
                              devices, kLocalRate);
  if (!topology.simulated() && prediction.seconds > 0) {
    prediction.seconds += overhead(algorithm, devices.size(), chunk * kItem);
  }
  return prediction;
}

}  // namespace weft::collectives
