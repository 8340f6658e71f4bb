// From fault records to culprits and errors.
#include <doctest/doctest.h>

#include "fabric/fault.h"

namespace weft::fabric {
namespace {

FaultRecord waited(int rank, int peer, int step, Outcome outcome = Outcome::timeout,
                   std::uint32_t seen = 0) {
  FaultRecord record;
  record.outcome = outcome;
  record.rank = rank;
  record.peer = peer;
  record.step = step;
  record.seen = seen;
  return record;
}

TEST_CASE("the chain of waits ends at the rank that waited for nobody") {
  const FaultRecord records[] = {waited(0, 3, 4), waited(1, 0, 3), FaultRecord{}, waited(3, 2, 5)};
  CHECK(find_culprits(records) == std::vector<int>{2});
}

TEST_CASE("two ranks that stopped are both named") {
  const FaultRecord records[] = {FaultRecord{}, waited(1, 0, 1), FaultRecord{}, waited(3, 2, 1)};
  CHECK(find_culprits(records) == std::vector<int>{0, 2});
}

TEST_CASE("in a circle the least advanced rank is named") {
  const FaultRecord records[] = {waited(0, 2, 4), waited(1, 0, 2), waited(2, 1, 3)};
  CHECK(find_culprits(records) == std::vector<int>{1});
  const FaultRecord equal_steps[] = {waited(0, 1, 2, Outcome::timeout, 7),
                                     waited(1, 0, 2, Outcome::timeout, 5)};
  CHECK(find_culprits(equal_steps) == std::vector<int>{1});
}

TEST_CASE("a rank that left without waiting ends the chain") {
  FaultRecord left;
  left.outcome = Outcome::aborted;
  left.rank = 1;
  const FaultRecord records[] = {waited(0, 1, 2), left, waited(2, 0, 2, Outcome::aborted)};
  CHECK(find_culprits(records) == std::vector<int>{1});
}

TEST_CASE("no rank waited: nobody is to blame") {
  const FaultRecord records[] = {FaultRecord{}, FaultRecord{}};
  CHECK(find_culprits(records).empty());
}

TEST_CASE("errors: a timeout outranks an abort, later operations' records do not count") {
  const auto error = [](std::vector<FaultRecord> records, std::uint64_t id) {
    return error_from_records(records, WorldSize(2), 1, id, "all_reduce", 1'000'000'000);
  };
  CHECK_FALSE(error({FaultRecord{}, FaultRecord{}}, 5));
  CHECK(error({waited(0, 1, 1, Outcome::aborted), waited(1, 0, 1)}, 5)->code() ==
        ErrorCode::collective_timeout);
  CHECK(error({waited(0, 1, 1, Outcome::aborted), FaultRecord{}}, 5)->code() ==
        ErrorCode::collective_aborted);
  FaultRecord later = waited(0, 1, 1);
  later.operation = 6;
  CHECK_FALSE(error({later, FaultRecord{}}, 5));
  CHECK(error({later, FaultRecord{}}, 6)->context().culprits == std::vector<int>{1});
}

TEST_CASE("one block that timed out makes it a timeout, whatever the others' records say") {
  const std::vector<FaultRecord> records = {waited(0, 1, 2, Outcome::aborted), waited(0, 1, 5),
                                            FaultRecord{}, FaultRecord{}};
  const auto error = error_from_records(records, WorldSize(2), 2, 0, "all_reduce", 1'000'000'000);
  REQUIRE(error);
  CHECK(error->code() == ErrorCode::collective_timeout);
  CHECK(error->context().culprits == std::vector<int>{1});
}

TEST_CASE("of a rank's blocks the least advanced tells the story") {
  std::vector<FaultRecord> records(4);
  records[0] = waited(0, 1, 5, Outcome::aborted);
  records[1] = waited(0, 1, 2, Outcome::aborted);
  const auto error = error_from_records(records, WorldSize(2), 2, 0, "all_reduce", 1'000'000'000);
  REQUIRE(error);
  CHECK(error->context().step == 2);
}

}  // namespace
}  // namespace weft::fabric
