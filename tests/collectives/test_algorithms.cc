// Every algorithm of all-reduce on the simulator: sums, orders, wrap, faults, no allocation.
#include <doctest/doctest.h>

#include <string>

#include "core/device/sim/scheduler.h"
#include "tests/collectives/count_allocations.h"
#include "tests/collectives/sim_fabric.h"

namespace weft::testing {
namespace {

using collectives::Algorithm;
using collectives::FaultPoint;

constexpr Algorithm kInPlace[] = {Algorithm::ring,        Algorithm::ll,
                                  Algorithm::lamport,     Algorithm::one_shot,
                                  Algorithm::two_shot,    Algorithm::push_two_shot,
                                  Algorithm::copy_engine, Algorithm::halving_doubling,
                                  Algorithm::hierarchical};

TEST_CASE("every algorithm sums exactly, for lengths around every boundary") {
  for (const int ranks : {1, 2, 3, 4, 6, 7, 8, 16}) {
    const auto fabric = open_sim(ranks);
    for (const Algorithm algorithm : kInPlace) {
      for (const std::int64_t length : {1, 31, 33, 1000, 4099, 70'001}) {
        Vectors vectors(ranks, length, static_cast<std::uint32_t>(length));
        CHECK_FALSE(sum_in_place(*fabric, vectors, 0, algorithm));
        CHECK_MESSAGE(vectors.wrong() == 0, "ranks ", ranks, " length ", length, " ",
                      collectives::name(algorithm));
      }
    }
  }
}

TEST_CASE("with the least scratch every algorithm stays within it") {
  fabric::FabricOptions options = sim_options(4);
  options.scratch = Bytes(1 << 16);
  const auto fabric = collectives::open(std::move(options));
  for (const Algorithm algorithm : kInPlace) {
    for (const std::int64_t length : {31, 200'000}) {
      Vectors vectors(4, length, 3);
      REQUIRE_FALSE(sum_in_place(*fabric, vectors, 0, algorithm));
      CHECK_MESSAGE(vectors.wrong() == 0, collectives::name(algorithm));
    }
  }
}

TEST_CASE("any interleaving of the ranks gives the same result under every algorithm") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SimScheduler::seed(seed);
    const auto fabric = open_sim(2 + static_cast<int>(seed % 4));
    for (const Algorithm algorithm : kInPlace) {
      for (const std::int64_t length : {1, 700, 40'000}) {
        Vectors vectors(fabric->world().value(), length, static_cast<std::uint32_t>(seed));
        REQUIRE_FALSE(sum_in_place(*fabric, vectors, 0, algorithm));
        REQUIRE_MESSAGE(vectors.wrong() == 0, "seed ", seed, " ", collectives::name(algorithm));
      }
    }
    fabric->close();
    SimScheduler::seed(0);
  }
}

TEST_CASE("algorithms follow each other in any order, through the 2^32 wrap of all counts") {
  fabric::FabricOptions options = sim_options(5);
  options.first_epoch = 0xfffffff0u;
  const auto fabric = collectives::open(std::move(options));
  for (std::uint32_t i = 0; i < 90; ++i) {
    Vectors vectors(5, 500 + 300 * (i % 7), i);
    REQUIRE_FALSE(sum_in_place(*fabric, vectors, 0, kInPlace[(i * 5 + i / 9) % 9]));
    REQUIRE(vectors.wrong() == 0);
  }
}

TEST_CASE("two_shot in several pieces of a chunk" * doctest::test_suite("stress")) {
  for (const int n : {2, 3, 4}) {
    const auto fabric = open_sim(n);
    Vectors vectors(n, n * 300'000 + 5, n);  // chunks of more than two pieces
    REQUIRE_FALSE(sum_in_place(*fabric, vectors, 0, Algorithm::two_shot));
    CHECK(vectors.wrong() == 0);
  }
}

TEST_CASE("no algorithm allocates in steady state") {
  const auto fabric = open_sim(4);
  Vectors vectors(4, 20'000, 4);
  for (const Algorithm algorithm : kInPlace) {
    collectives::CallOptions options;
    options.algorithm = algorithm;
    const auto run = [&] {
      const auto operation = collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors,
                                                     ReduceOp::max, options);
      operation->wait_until(soon());
    };
    for (int i = 0; i < 20; ++i) run();
    const std::int64_t before = allocations_so_far();
    for (int i = 0; i < 50; ++i) run();
    const std::int64_t made = allocations_so_far() - before;
    const std::string name = collectives::name(algorithm);
    CAPTURE(name);
    CHECK(made == 0);
  }
}

TEST_CASE("under every algorithm a rank that stops at its first step is named, and all recover") {
  for (const int n : {2, 3, 5}) {
    const auto fabric = open_sim(n);
    for (const Algorithm algorithm : kInPlace) {
      for (int rank = 0; rank < n; ++rank) {
        CAPTURE(n);
        CAPTURE(rank);
        const std::string name = collectives::name(algorithm);
        CAPTURE(name);
        collectives::plan_fault(*fabric, {FaultPoint::Action::stop, rank, 0, 0});
        Vectors vectors(n, 5000, 1);
        const auto error = sum_in_place(*fabric, vectors, 0.2, algorithm);
        collectives::plan_fault(*fabric, {});
        REQUIRE(error);
        CHECK(error->code() == ErrorCode::collective_timeout);
        CHECK(error->context().culprits == std::vector<int>{rank});
        fabric->recover();
        Vectors again(n, 3000, 2);
        REQUIRE_FALSE(sum_in_place(*fabric, again, 0, algorithm));
        REQUIRE(again.wrong() == 0);
      }
    }
  }
}

}  // namespace
}  // namespace weft::testing
