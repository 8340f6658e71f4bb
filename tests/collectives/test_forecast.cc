// Predictions without a fabric.
#include <doctest/doctest.h>

#include <string>

#include "collectives/collectives.h"
#include "collectives/forecast.h"
#include "core/base/error.h"

namespace {

using namespace weft;
using collectives::Algorithm;
using collectives::forecast_all_reduce;

std::string refusal(const topology::Topology& topology, Algorithm algorithm, std::int64_t bytes,
                    int group_size) {
  try {
    (void)forecast_all_reduce(topology, algorithm, bytes, group_size);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    return error.message();
  }
  return "";
}

}  // namespace

TEST_CASE("every algorithm but auto has a forecast, above its bound") {
  const topology::Topology machine = topology::preset("hgx-h200", 8);
  for (int a = 1; a <= static_cast<int>(Algorithm::hierarchical); ++a) {
    const auto algorithm = static_cast<Algorithm>(a);
    CAPTURE(collectives::name(algorithm));
    const auto seen = forecast_all_reduce(machine, algorithm, 1 << 24, 0);
    CHECK(seen.seconds >= seen.lower_bound_seconds);
    CHECK(seen.lower_bound_seconds > (1 << 24) / 386e9);
  }
  CHECK(refusal(machine, Algorithm::automatic, 1, 0).find("\"auto\"") != std::string::npos);
  CHECK(refusal(machine, Algorithm::ring, -1, 0).find("below 0") != std::string::npos);
  CHECK(refusal(machine, Algorithm::hierarchical, 1, 3).find("divide") != std::string::npos);
  CHECK(refusal(topology::Topology("none", {}, {}), Algorithm::ring, 1, 0).find("no devices") !=
        std::string::npos);
}

TEST_CASE("groups of a forecast come from the topology") {
  const topology::Topology cluster = topology::preset_cluster("dgx-h100", 2);
  const auto found = forecast_all_reduce(cluster, Algorithm::hierarchical, 1 << 26, 0);
  const auto given = forecast_all_reduce(cluster, Algorithm::hierarchical, 1 << 26, 8);
  CHECK(found.seconds == given.seconds);
  // Between machines each device sends its share of the vector and gets the sums of the other half.
  CHECK(found.link_bytes[8] == (1 << 26) / 8);
}
