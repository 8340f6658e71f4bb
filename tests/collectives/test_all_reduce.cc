// All-reduce on the simulator: results, refusals, order, no allocation in steady state.
#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "core/device/fault/fault_device.h"
#include "core/device/sim/scheduler.h"
#include "tests/collectives/count_allocations.h"
#include "tests/collectives/sim_fabric.h"

namespace weft::testing {
namespace {

TEST_CASE("every rank gets the exact sum, for lengths around every boundary") {
  for (const int ranks : {1, 2, 3, 4, 5, 8, 16}) {
    const auto fabric = open_sim(ranks);
    for (const std::int64_t length : {1, 2, 31, 32, 33, 127, 1000, 4099, 70'001, 300'000}) {
      Vectors vectors(ranks, length, static_cast<std::uint32_t>(length));
      CHECK_FALSE(sum_in_place(*fabric, vectors));
      CHECK_MESSAGE(vectors.wrong() == 0, "ranks ", ranks, " length ", length);
    }
  }
}

TEST_CASE("out of place leaves the inputs alone") {
  const auto fabric = open_sim(3);
  Vectors in(3, 10'000, 1);
  Vectors out(3, 10'000, 2);
  const auto operation =
      collectives::all_reduce(*fabric, in.tensors, out.tensors, ReduceOp::max, {});
  REQUIRE(operation->wait_until(soon()));
  for (std::int64_t i = 0; i < 10'000; ++i) {
    const float want = std::max({in.value(0, i), in.value(1, i), in.value(2, i)});
    for (int r = 0; r < 3; ++r) {
      REQUIRE(in.data(r)[i] == in.value(r, i));
      REQUIRE(out.data(r)[i] == want);
    }
  }
}

TEST_CASE("operations of two fabrics on the caller's streams follow each other") {
  const std::shared_ptr<Fabric> fabrics[] = {open_sim(2), open_sim(2)};
  Vectors vectors(2, 20'000, 4);
  std::vector<Stream> streams;
  for (int r = 0; r < 2; ++r) {
    streams.push_back(device(sim(r)).create_stream(StreamPriority::normal));
  }
  collectives::CallOptions options;
  options.streams = streams;
  constexpr int kRounds = 8;
  for (int i = 0; i < kRounds; ++i) {
    const auto operation = collectives::all_reduce(*fabrics[i % 2], vectors.tensors,
                                                   vectors.tensors, ReduceOp::sum, options);
    REQUIRE(std::string(operation->info().kind_name) == "all_reduce");
  }
  for (int r = 0; r < 2; ++r) device(sim(r)).destroy_stream(streams[static_cast<std::size_t>(r)]);
  for (std::int64_t i = 0; i < 20'000; ++i) {
    const float want = (vectors.value(0, i) + vectors.value(1, i)) * (1 << (kRounds - 1));
    REQUIRE(vectors.data(0)[i] == want);
    REQUIRE(vectors.data(1)[i] == want);
  }
}

TEST_CASE("64 simulated ranks") {
  const auto fabric = open_sim(64);
  Vectors vectors(64, 5000, 3);
  CHECK_FALSE(sum_in_place(*fabric, vectors));
  CHECK(vectors.wrong() == 0);
}

TEST_CASE("counts run through the 2^32 wrap") {
  fabric::FabricOptions options = sim_options(4);
  options.first_epoch = 0xfffffff0u;
  const auto fabric = collectives::open(std::move(options));
  for (std::uint32_t i = 0; i < 64; ++i) {
    Vectors vectors(4, 1000 + i, i);
    REQUIRE_FALSE(sum_in_place(*fabric, vectors));
    REQUIRE(vectors.wrong() == 0);
  }
}

TEST_CASE("no allocation in steady state") {
  const auto fabric = open_sim(4);
  Vectors vectors(4, 20'000, 4);
  const auto run = [&] {
    const auto operation =
        collectives::all_reduce(*fabric, vectors.tensors, vectors.tensors, ReduceOp::avg, {});
    operation->wait_until(soon());
  };
  for (int i = 0; i < 20; ++i) run();
  const std::int64_t before = allocations_so_far();
  for (int i = 0; i < 100; ++i) run();
  CHECK(allocations_so_far() - before == 0);
}

TEST_CASE("zero elements: success, counted, nothing moved") {
  const auto fabric = open_sim(3);
  Vectors vectors(3, 0, 0);
  CHECK_FALSE(sum_in_place(*fabric, vectors));
  const auto totals = fabric->stats().snapshot();
  CHECK(totals.operations == 1);
  CHECK(totals.empty == 1);
  CHECK(totals.link_bytes == std::vector<std::int64_t>(9, 0));
}

TEST_CASE("zero elements: an output at its input's address shares nothing with it") {
  const auto fabric = open_sim(2);
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  const std::int64_t none[] = {0};
  for (int r = 0; r < 2; ++r) {
    inputs.push_back(Tensor::empty(none, DType::f32, sim(r)));
    outputs.emplace_back(inputs.back().storage(), DType::f32, Layout::contiguous(none));
  }
  for (const auto collective :
       {collectives::Collective::all_gather, collectives::Collective::all_to_all,
        collectives::Collective::reduce_scatter}) {
    CAPTURE(collectives::name(collective));
    collectives::CallOptions options;
    options.algorithm = collectives::Algorithm::one_shot;
    const auto operation =
        collectives::run(*fabric, {.collective = collective}, inputs, outputs, options);
    REQUIRE(operation->wait_until(soon()));
    CHECK_FALSE(operation->error());
  }
  collectives::CallOptions pull;
  pull.algorithm = collectives::Algorithm::one_shot_pull;  // refuses to work in place
  const auto operation = collectives::all_reduce(*fabric, inputs, outputs, ReduceOp::sum, pull);
  REQUIRE(operation->wait_until(soon()));
  CHECK_FALSE(operation->error());
}

TEST_CASE("statistics count the schedule's bytes") {
  const auto fabric = open_sim(4);
  Vectors vectors(4, 4096, 5);
  CHECK_FALSE(sum_in_place(*fabric, vectors));
  const auto totals = fabric->stats().snapshot();
  // 2 (n - 1) chunks of a quarter of the vector go to the next rank.
  CHECK(totals.link_bytes[0 * 4 + 1] == 6 * 4096);
  CHECK(totals.link_bytes[3 * 4 + 0] == 6 * 4096);
  CHECK(totals.link_bytes[1 * 4 + 0] == 0);
}

TEST_CASE("a rank's memory without peer access is refused before launch") {
  auto& first = static_cast<SimDevice&>(device(sim(40)));
  const auto fabric = [&] {
    fabric::FabricOptions options = sim_options(2);
    options.devices = {&device(sim(40)), &device(sim(41))};
    return collectives::open(std::move(options));
  }();
  const std::int64_t sizes[] = {100};
  const std::vector<Tensor> tensors = {Tensor::empty(sizes, DType::f32, sim(40)),
                                       Tensor::empty(sizes, DType::f32, sim(41))};
  first.disable_peer(sim(41));
  CHECK_THROWS_AS(collectives::all_reduce(*fabric, tensors, tensors, ReduceOp::sum, {}), Error);
  first.enable_peer(sim(41));
  const auto operation = collectives::all_reduce(*fabric, tensors, tensors, ReduceOp::sum, {});
  CHECK(operation->wait_until(soon()));
  CHECK_FALSE(operation->error());
}

TEST_CASE("calls from several threads happen one after the other") {
  const auto fabric = open_sim(3);
  std::vector<std::thread> threads;
  std::atomic<int> bad{0};
  for (std::uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < 20; ++i) {
        Vectors vectors(3, 500 + 77 * t, 100 * t + i);
        if (sum_in_place(*fabric, vectors) || vectors.wrong() != 0) ++bad;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(bad == 0);
}

TEST_CASE("any interleaving of the ranks gives the same result") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SimScheduler::seed(seed);
    const auto fabric = open_sim(2 + static_cast<int>(seed % 4));
    for (const std::int64_t length : {1, 700, 40'000}) {
      Vectors vectors(fabric->world().value(), length, static_cast<std::uint32_t>(seed));
      REQUIRE_FALSE(sum_in_place(*fabric, vectors));
      REQUIRE_MESSAGE(vectors.wrong() == 0, "seed ", seed);
    }
    fabric->close();
    SimScheduler::seed(0);
  }
}

TEST_CASE("ranks that call from their own threads meet") {
  const auto fabric = open_sim(4);
  for (std::uint32_t i = 0; i < 10; ++i) {
    Vectors vectors(4, 3000, i);
    std::vector<std::thread> threads;
    for (int r = 0; r < 4; ++r) {
      threads.emplace_back([&, r] {
        const Tensor& mine = vectors.tensors[static_cast<std::size_t>(r)];
        const auto operation =
            collectives::all_reduce(*fabric, Rank(r), mine, mine, ReduceOp::sum, {});
        operation->wait_until(soon());
      });
    }
    for (auto& thread : threads) thread.join();
    REQUIRE(vectors.wrong() == 0);
  }
}

}  // namespace
}  // namespace weft::testing
