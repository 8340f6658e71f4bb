// Predictions: the ring's closed form, exact bytes, the lower bound, and refused arguments.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "collectives/schedule/predict.h"
#include "collectives/schedule/ring.h"
#include "collectives/schedule/two_shot.h"
#include "core/base/error.h"

namespace {

using namespace weft::schedule;
using weft::Rank;
using weft::WorldSize;
using weft::topology::Link;
using weft::topology::Node;
using weft::topology::PathKind;
using weft::topology::Topology;

constexpr double kLocalRate = 1e12;

Topology uniform(int devices, std::optional<double> rate, double latency) {
  std::vector<Node> nodes;
  for (int i = 0; i < devices; ++i) {
    nodes.push_back({{weft::DeviceKind::sim, weft::DeviceOrdinal(i)}, "simulated", {}, {}});
  }
  const Link link{PathKind::nvlink, 1, true, rate, latency};
  return Topology("uniform", std::move(nodes),
                  std::vector<Link>(static_cast<std::size_t>(devices * devices), link));
}

std::vector<int> one_each(int n) {
  std::vector<int> devices(static_cast<std::size_t>(n));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}

std::int64_t total(const Prediction& prediction) {
  return std::accumulate(prediction.link_bytes.begin(), prediction.link_bytes.end(),
                         std::int64_t{0});
}

Prediction ring_on(const Topology& topology, int n, const Tiling& tiling,
                   const std::vector<int>& devices) {
  return predict(ring::materialise(WorldSize(n)), tiling, 4, topology, devices, kLocalRate);
}

template <class Call>
std::string error_of(const Call& call, weft::ErrorCode code) {
  try {
    call();
  } catch (const weft::Error& error) {
    CHECK(error.code() == code);
    return error.message();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("the ring takes 2 (n - 1) / n of the vector at the link's rate") {
  const double rate = 100e9;
  for (int n = 2; n <= 8; ++n) {
    for (const std::int64_t mib : {1, 64, 1024}) {
      for (const TilingLimits& limits :
           {TilingLimits{16384, 4, 8}, TilingLimits{131072, 2, 16}, TilingLimits{65536, 1, 1}}) {
        CAPTURE(n);
        CAPTURE(mib);
        CAPTURE(limits.blocks);
        const std::int64_t elements = mib * 1024 * 1024 / 4 / n * n;
        const Tiling tiling = make_tiling(elements, 4, WorldSize(n), limits);
        const Prediction got = ring_on(uniform(n, rate, 0.0), n, tiling, one_each(n));
        const double bytes = static_cast<double>(elements) * 4;
        CHECK(got.seconds == doctest::Approx(2.0 * (n - 1) / n * bytes / rate).epsilon(0.01));
        CHECK(got.seconds >= got.lower_bound_seconds);
      }
    }
  }
}

TEST_CASE("a tiny ring takes 2 (n - 1) latencies") {
  for (int n = 2; n <= 8; ++n) {
    const Tiling tiling = make_tiling(n, 4, WorldSize(n), {16384, 4, 8});
    const Prediction got = ring_on(uniform(n, 1e15, 5e-6), n, tiling, one_each(n));
    CHECK(got.seconds == doctest::Approx(2 * (n - 1) * 5e-6).epsilon(0.01));
  }
}

TEST_CASE("bytes are exact on every lane, also where pieces are merged and chunks are short") {
  std::mt19937 random(7);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int trial = 0; trial < 60; ++trial) {
    const int n = trial % 12 == 0 ? 64 : pick(2, 9);
    const std::int64_t elements = trial % 2 == 0 ? pick(1, 5000) : pick(1, 20'000'000);
    const TilingLimits limits{128 * pick(8, 512), pick(1, 5), pick(1, 8)};
    CAPTURE(n);
    CAPTURE(elements);
    const Tiling tiling = make_tiling(elements, 4, WorldSize(n), limits);
    const Prediction got = ring_on(uniform(n, 50e9, 1e-6), n, tiling, one_each(n));
    CHECK(total(got) == 2 * (n - 1) * elements * 4);
    CHECK(got.seconds >= got.lower_bound_seconds);
    CHECK(got.lower_bound_seconds > 0);
    // Of its n chunks a rank does not push one in each half, so no two lanes need be equal.
    std::vector<std::int64_t> wanted(static_cast<std::size_t>(n * n), 0);
    for (int rank = 0; rank < n; ++rank) {
      for (int i = 0; i < 2 * n - 2; ++i) {
        const int chunk = ring::step(WorldSize(n), Rank(rank), i).chunk.value();
        std::int64_t size = 0;
        for (int block = 0; block < tiling.blocks; ++block) {
          for (int piece = 0; piece < tiling.rounds * tiling.pieces; ++piece) {
            size += tiling.piece(chunk, block, piece / tiling.pieces, piece % tiling.pieces).size();
          }
        }
        wanted[static_cast<std::size_t>(rank * n + (rank + 1) % n)] += size * 4;
      }
    }
    CHECK(got.link_bytes == wanted);
  }
}

TEST_CASE("merging the pieces of a long vector keeps the time of its stalls") {
  // One piece of 64 KiB a round: every hop stalls for the latency, which is longer than the
  // transfer.
  const int n = 4;
  const double rate = 64e9, latency = 10e-6;
  const std::int64_t piece = 65536;
  for (const int rounds : {1, 64, 640}) {
    CAPTURE(rounds);
    const Tiling tiling = make_tiling(rounds * n * piece / 4, 4, WorldSize(n), {piece, 1, 1});
    REQUIRE(tiling.rounds == rounds);
    const Prediction got = ring_on(uniform(n, rate, latency), n, tiling, one_each(n));
    const double round = 2 * (n - 1) * (static_cast<double>(piece) / rate + latency);
    CHECK(got.seconds > 0.9 * rounds * round);
    CHECK(got.seconds < 1.1 * rounds * round);
  }
}

TEST_CASE("ranks on one device share its local rate, and lanes between two devices their link") {
  const Tiling tiling = make_tiling(1 << 24, 4, WorldSize(4), {131072, 4, 8});
  const double bytes = 4.0 * (1 << 24);
  const Topology two = uniform(2, 100e9, 0.0);
  const Prediction local = ring_on(two, 4, tiling, {0, 0, 0, 0});
  CHECK(local.seconds == doctest::Approx(6 * bytes / kLocalRate).epsilon(0.01));
  CHECK(local.lower_bound_seconds == doctest::Approx(6 * bytes / kLocalRate).epsilon(0.01));
  // All four hops cross: each direction carries two lanes.
  const Prediction crossed = ring_on(two, 4, tiling, {0, 1, 0, 1});
  CHECK(crossed.seconds == doctest::Approx(2 * 1.5 * bytes / 100e9).epsilon(0.01));
  CHECK(total(crossed) == 6 * 4 * (1 << 24));
}

TEST_CASE("the bottleneck is the slow link") {
  std::vector<Node> nodes;
  std::vector<Link> links;
  for (int i = 0; i < 3; ++i) {
    nodes.push_back({{weft::DeviceKind::sim, weft::DeviceOrdinal(i)}, "simulated", {}, {}});
    for (int to = 0; to < 3; ++to) {
      links.push_back({PathKind::nvlink, 1, true, i == 1 && to == 2 ? 10e9 : 100e9, 0.0});
    }
  }
  const Tiling tiling = make_tiling(3 << 20, 4, WorldSize(3), {16384, 4, 8});
  const Prediction got = ring_on(Topology("slow", nodes, links), 3, tiling, one_each(3));
  CHECK(got.bottleneck_from == 1);
  CHECK(got.bottleneck_to == 2);
  CHECK(got.lower_bound_seconds == doctest::Approx(4.0 * (4 << 20) / 10e9).epsilon(0.001));
  CHECK(got.seconds >= got.lower_bound_seconds);
  CHECK(got.seconds == ring_on(Topology("slow", nodes, links), 3, tiling, one_each(3)).seconds);
}

TEST_CASE("one rank and an empty vector move nothing and take no time") {
  const Prediction one =
      ring_on(uniform(1, 1e9, 0.0), 1, make_tiling(1000, 4, WorldSize(1), {16384, 4, 8}), {0});
  CHECK(one.seconds == 0.0);
  CHECK(one.link_bytes == std::vector<std::int64_t>{0});
  CHECK(one.bottleneck_from == -1);
  const Prediction empty =
      ring_on(uniform(2, 1e9, 1e-6), 2, make_tiling(0, 4, WorldSize(2), {16384, 4, 8}), {0, 1});
  CHECK(empty.seconds == 0.0);
  CHECK(total(empty) == 0);
}

TEST_CASE("links through a switch share the ports of their devices, others do not") {
  const auto seconds = [](std::optional<weft::topology::Via> via, PathKind kind) {
    Topology plain = uniform(4, 1e9, 0.0);
    std::vector<Node> nodes;
    std::vector<Link> links = plain.links();
    for (int i = 0; i < 4; ++i) nodes.push_back(plain.node(i));
    for (Link& link : links) {
      link.via = via;
      link.kind = kind;
    }
    const Topology topology("ports", std::move(nodes), std::move(links));
    const Tiling tiling = weft::schedule::cut_chunks(4096, 1024, 4, {4096, 1, 1});
    const Prediction seen = predict(weft::schedule::push_two_shot::materialise(WorldSize(4)),
                                    tiling, 4, topology, one_each(4), kLocalRate);
    CHECK(seen.seconds == doctest::Approx(seen.lower_bound_seconds));
    return seen.seconds;
  };
  using weft::topology::Via;
  const double alone = 2 * 4096 / 1e9;  // a chunk each way over every link
  CHECK(seconds(Via::direct, PathKind::nvlink) == doctest::Approx(alone));
  CHECK(seconds(std::nullopt, PathKind::nvlink) == doctest::Approx(alone));
  CHECK(seconds(Via::through_switch, PathKind::nvlink) == doctest::Approx(3 * alone));
  CHECK(seconds(std::nullopt, PathKind::sys) == doctest::Approx(3 * alone));
  CHECK(seconds(std::nullopt, PathKind::network) == doctest::Approx(3 * alone));
}

TEST_CASE("arguments that cannot be are refused by name") {
  const Tiling tiling = make_tiling(1000, 4, WorldSize(2), {16384, 4, 8});
  const Schedule two = ring::materialise(WorldSize(2));
  const Topology known = uniform(2, 1e9, 0.0);
  const auto run = [&](const Schedule& s, const Topology& t, std::vector<int> devices,
                       double local) {
    return [&s, &t, devices, local, &tiling] { (void)predict(s, tiling, 4, t, devices, local); };
  };
  using weft::ErrorCode;
  CHECK(error_of(run(two, uniform(2, {}, 0.0), {0, 1}, 1e9), ErrorCode::topology)
            .find("no rate is known") != std::string::npos);
  CHECK(error_of(run(two, known, {0}, 1e9), ErrorCode::invalid_argument).find("1 ranks of 2") !=
        std::string::npos);
  CHECK(error_of(run(two, known, {0, 2}, 1e9), ErrorCode::invalid_argument).find("device 2") !=
        std::string::npos);
  CHECK(error_of(run(two, known, {0, 1}, 0.0), ErrorCode::invalid_argument).find("local rate") !=
        std::string::npos);
  Schedule stuck = two;
  stuck.programs[0].erase(stuck.programs[0].begin());
  CHECK(error_of(run(stuck, known, {0, 1}, 1e9), ErrorCode::invalid_argument)
            .find("rank 1 waits for ever") != std::string::npos);
}
