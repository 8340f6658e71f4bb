// Tables of algorithms: what the shipped one prefers, boundaries, rows that cannot serve, and that
// a row that was set decides what runs.
#include <doctest/doctest.h>

#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "collectives/request.h"
#include "collectives/tuner.h"
#include "collectives/tuning/shipped.h"
#include "tests/collectives/sim_fabric.h"
#include "tests/core/expect_error.h"

namespace weft::testing {
namespace {

using collectives::Algorithm;
using collectives::Collective;
using collectives::DTypeClass;
using collectives::set_tuning;
using collectives::TuningCall;
using collectives::TuningRow;
using Order = std::vector<Algorithm>;

constexpr std::int64_t kKiB = 1 << 10;
constexpr std::int64_t kMiB = 1 << 20;

std::string text(const Order& order) {
  std::string names;
  for (const Algorithm algorithm : order) names += std::string(name(algorithm)) + " ";
  return names;
}

// What the shipped rows should come to: the algorithms that "auto" tries, in this order.
Order shipped_order(bool cuda, const TuningCall& call) {
  using enum Algorithm;
  if (call.collective != Collective::all_reduce) {
    if (!cuda) return {one_shot_pull, one_shot, two_shot, ring};
    if (call.bytes <= 512 * kKiB) return {ll, one_shot_pull, one_shot, two_shot, copy_engine};
    if (call.bytes < 64 * kMiB) return {one_shot_pull, one_shot, two_shot, copy_engine};
    return {copy_engine, one_shot_pull, one_shot, two_shot};
  }
  if (!cuda) return {two_shot, ring};
  if (call.bytes <= 4 * kMiB) return {lamport, ll, one_shot_pull, two_shot, copy_engine};
  if (call.bytes <= 16 * kMiB) return {lamport, push_two_shot, two_shot, copy_engine};
  if (call.bytes < 48 * kMiB) return {push_two_shot, two_shot, copy_engine};
  return {copy_engine, push_two_shot, two_shot};
}

std::vector<std::int64_t> sizes_around_every_crossover() {
  std::vector<std::int64_t> sizes = {0, 1, 4, 1000};
  for (std::int64_t size = kKiB; size <= 4096 * kMiB; size *= 2) {
    for (const std::int64_t near :
         {size - 1, size, size + 1, size + size / 2 - 1, size + size / 2}) {
      sizes.push_back(near);
    }
  }
  return sizes;
}

TEST_CASE("the shipped table prefers what it should at every size") {
  for (const std::int32_t generation : {0, 80, 90, 100, 103}) {
    for (const std::int32_t ranks : {1, 2, 3, 8, 64}) {
      const auto table = collectives::make_table(generation, ranks, {});
      CHECK_FALSE(table.by_capture);
      for (int c = 0; c <= static_cast<int>(Collective::send_recv); ++c) {
        for (const std::int64_t bytes : sizes_around_every_crossover()) {
          for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
            const TuningCall call{.collective = static_cast<Collective>(c),
                                  .floating = (bits & 1) != 0,
                                  .captured = (bits & 2) != 0,
                                  .in_place = (bits & 4) != 0,
                                  .bytes = bytes};
            REQUIRE(text(preference(table, call)) == text(shipped_order(generation != 0, call)));
          }
        }
      }
    }
  }
}

TuningRow row_for(Algorithm algorithm, std::int64_t from, std::int64_t up_to) {
  return {.generation = 0,
          .collectives = collectives::kAllReduce,
          .from = from,
          .up_to = up_to,
          .algorithm = algorithm};
}

TEST_CASE("a row holds from its first byte to its last, and comes before the shipped ones") {
  const TuningRow rows[] = {row_for(Algorithm::ring, 100, 200),
                            row_for(Algorithm::one_shot, 201, 300)};
  const auto table = collectives::make_table(0, 4, rows);
  const auto first = [&](std::int64_t bytes) {
    return preference(table, {.bytes = bytes}).front();
  };
  CHECK(first(99) == Algorithm::two_shot);
  CHECK(first(100) == Algorithm::ring);
  CHECK(first(200) == Algorithm::ring);
  CHECK(first(201) == Algorithm::one_shot);
  CHECK(first(300) == Algorithm::one_shot);
  CHECK(first(301) == Algorithm::two_shot);
  CHECK(preference(table, {.collective = Collective::reduce, .bytes = 150}).front() ==
        Algorithm::one_shot_pull);
  CHECK(text(preference(table, {.bytes = 150})) == "ring two_shot ");
}

TEST_CASE("a row is for the calls that it names") {
  TuningRow row = row_for(Algorithm::ll, 0, collectives::kNoEnd);
  const TuningCall call{.floating = true, .captured = false, .in_place = true, .bytes = 8};
  CHECK(fits(row, call));
  row.dtypes = DTypeClass::integral;
  CHECK_FALSE(fits(row, call));
  row.dtypes = DTypeClass::floating;
  CHECK(fits(row, call));
  row.captured = true;
  CHECK_FALSE(fits(row, call));
  CHECK(collectives::make_table(0, 2, std::span(&row, 1)).by_capture);
  row.captured = false;
  CHECK(fits(row, call));
  row.in_place = false;
  CHECK_FALSE(fits(row, call));
  row.in_place = true;
  CHECK(fits(row, call));
}

TEST_CASE("rows for other devices or other numbers of ranks are left out") {
  TuningRow row = row_for(Algorithm::ll, 0, collectives::kNoEnd);
  row.generation = 90;
  row.ranks = 2;
  const auto measured = [&](std::int32_t generation, std::int32_t ranks) {
    return collectives::make_table(generation, ranks, std::span(&row, 1)).rows.front().measured;
  };
  CHECK(measured(90, 2));
  CHECK_FALSE(measured(90, 4));
  CHECK_FALSE(measured(100, 2));
  CHECK_FALSE(measured(0, 2));
  row.generation = collectives::kAnyGpu;
  CHECK(measured(100, 2));
  CHECK_FALSE(measured(0, 2));
}

// What an all_reduce in place by "auto" runs with.
std::string chosen(Fabric& fabric, std::int64_t length, bool deterministic = false) {
  Vectors vectors(fabric.world().value(), length, 1);
  collectives::CallOptions options;
  options.deterministic = deterministic;
  const auto operation =
      collectives::all_reduce(fabric, vectors.tensors, vectors.tensors, ReduceOp::sum, options);
  REQUIRE(operation->wait_until(soon()));
  REQUIRE_FALSE(operation->error());
  CHECK(vectors.wrong() == 0);
  return operation->info().algorithm;
}

TEST_CASE("a table that is set decides what runs, until another is set") {
  const auto fabric = open_sim(4);
  CHECK(chosen(*fabric, 100) == "two_shot");
  const TuningRow rows[] = {row_for(Algorithm::halving_doubling, 0, 400),
                            row_for(Algorithm::hierarchical, 401, 4000)};
  set_tuning(*fabric, rows);
  CHECK(chosen(*fabric, 100) == "halving_doubling");
  CHECK(chosen(*fabric, 101) == "hierarchical");
  CHECK(chosen(*fabric, 1001) == "two_shot");
  set_tuning(*fabric, {});
  CHECK(chosen(*fabric, 100) == "two_shot");
}

TEST_CASE("a row whose algorithm cannot serve the call is passed over") {
  const auto fabric = open_sim(4);
  const TuningRow in_place[] = {row_for(Algorithm::one_shot_pull, 0, collectives::kNoEnd),
                                row_for(Algorithm::one_shot, 0, collectives::kNoEnd)};
  set_tuning(*fabric, in_place);  // the first reads inputs while outputs are written
  CHECK(chosen(*fabric, 100) == "one_shot");
  const TuningRow own_order[] = {row_for(Algorithm::halving_doubling, 0, collectives::kNoEnd)};
  set_tuning(*fabric, own_order);
  CHECK(chosen(*fabric, 100) == "halving_doubling");
  CHECK(chosen(*fabric, 100, true) == "two_shot");

  fabric::FabricOptions little = sim_options(9);
  little.scratch = Bytes(1024);  // enough for the slots of one lane, not for those of eight
  const auto small = collectives::open(std::move(little));
  const TuningRow pushes[] = {row_for(Algorithm::push_two_shot, 0, collectives::kNoEnd)};
  set_tuning(*small, pushes);
  CHECK(chosen(*small, 100) == "two_shot");
  Vectors vectors(9, 100, 1);
  expect_error(ErrorCode::invalid_argument,
               [&] { sum_in_place(*small, vectors, 0, Algorithm::push_two_shot); });
}

TEST_CASE("tables may be set while operations are launched, and each sees one of them") {
  const auto fabric = open_sim(3);
  const TuningRow one[] = {row_for(Algorithm::two_shot, 0, collectives::kNoEnd)};
  const TuningRow other[] = {row_for(Algorithm::one_shot, 0, collectives::kNoEnd)};
  set_tuning(*fabric, one);
  const std::jthread setter([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) set_tuning(*fabric, i % 2 ? one : other);
  });
  for (int i = 0; i < 100; ++i) {
    const std::string algorithm = chosen(*fabric, 50);
    CHECK((algorithm == "two_shot" || algorithm == "one_shot"));
  }
}

TEST_CASE("a table with a row that means nothing is refused, and the old one stays") {
  const auto fabric = open_sim(2);
  const TuningRow good[] = {row_for(Algorithm::two_shot, 0, 1000)};
  set_tuning(*fabric, good);
  TuningRow no_algorithm = good[0];
  no_algorithm.algorithm = Algorithm::automatic;
  TuningRow no_collective = good[0];
  no_collective.collectives = 0;
  TuningRow no_size = good[0];
  no_size.up_to = -1;
  TuningRow no_blocks = good[0];
  no_blocks.blocks = -1;
  for (const TuningRow& bad : {no_algorithm, no_collective, no_size, no_blocks}) {
    const TuningRow rows[] = {row_for(Algorithm::ll, 0, 1000), bad};
    expect_error(ErrorCode::invalid_argument, [&] { set_tuning(*fabric, rows); });
  }
  CHECK(chosen(*fabric, 100) == "two_shot");
}

TEST_CASE("a row's blocks come with the choice, and not with a forced algorithm") {
  const auto fabric = open_sim(2);
  TuningRow row = row_for(Algorithm::two_shot, 0, 1000);
  row.blocks = 7;
  set_tuning(*fabric, std::span(&row, 1));
  Vectors vectors(2, 10, 1);
  const collectives::Request request{{}, vectors.tensors, vectors.tensors};
  CHECK(collectives::select(*fabric, request, {}).blocks == 7);
  collectives::CallOptions forced;
  forced.algorithm = Algorithm::two_shot;
  CHECK(collectives::select(*fabric, request, forced).blocks == 0);
}

}  // namespace
}  // namespace weft::testing
