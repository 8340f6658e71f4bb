// Strong types, epochs, handles and errors.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/types.h"
#include "core/base/unique.h"

namespace weft {
namespace {

static_assert(!std::is_convertible_v<int, Rank>);
static_assert(!std::is_convertible_v<Rank, int>);
static_assert(!std::is_convertible_v<Rank, WorldSize>);
static_assert(std::is_trivially_copyable_v<Rank> && sizeof(Rank) == 4);
static_assert(std::is_trivially_copyable_v<Epoch> && sizeof(Epoch) == 4);
static_assert(Bytes(3) + Bytes(4) == Bytes(7) && Bytes(3) * 5 == Bytes(15));
static_assert(Rank(1) < Rank(2) && ++Rank(1) == Rank(2));

struct Recorder {
  std::vector<int>* destroyed = nullptr;
  void operator()(int handle) const { destroyed->push_back(handle); }
};
using Handle = Unique<int, Recorder>;

}  // namespace

TEST_CASE("a strong type prints as its value") {
  std::ostringstream out;
  out << Rank(3) << ' ' << Bytes(std::int64_t{1} << 40);
  CHECK(out.str() == "3 1099511627776");
}

TEST_CASE("an epoch reaches its goal across the wrap of 2^32") {
  const std::uint32_t last = std::numeric_limits<std::uint32_t>::max();
  CHECK(Epoch(7).reached(Epoch(7)));
  CHECK(Epoch(8).reached(Epoch(7)));
  CHECK_FALSE(Epoch(6).reached(Epoch(7)));
  CHECK((Epoch(last) + 2) == Epoch(1));
  CHECK(Epoch(1).reached(Epoch(last)));
  CHECK_FALSE(Epoch(last).reached(Epoch(1)));
  for (const std::uint32_t base : {0U, 1U, last / 2, last / 2 + 1, last - 1, last}) {
    for (const std::uint32_t ahead : {1U, 1000U, (1U << 31) - 1}) {
      CAPTURE(base);
      CAPTURE(ahead);
      CHECK((Epoch(base) + ahead).reached(Epoch(base)));
      CHECK_FALSE(Epoch(base).reached(Epoch(base) + ahead));
    }
  }
}

TEST_CASE("a handle is destroyed once, by its last owner") {
  std::vector<int> destroyed;
  {
    Handle first(1, Recorder{&destroyed});
    Handle second(std::move(first));
    CHECK_FALSE(static_cast<bool>(first));
    CHECK(second.get() == 1);
    Handle third(3, Recorder{&destroyed});
    third = std::move(second);
    CHECK(destroyed == std::vector<int>{3});
    Handle& same = third;
    third = std::move(same);
    CHECK(static_cast<bool>(third));
    Handle never;
  }
  CHECK(destroyed == std::vector<int>{3, 1});
}

TEST_CASE("a reset handle is empty and stays so") {
  std::vector<int> destroyed;
  Handle handle(5, Recorder{&destroyed});
  handle.reset();
  handle.reset();
  CHECK_FALSE(static_cast<bool>(handle));
  CHECK(destroyed == std::vector<int>{5});
}

TEST_CASE("an error carries code, message and context") {
  try {
    fail(ErrorCode::shape_mismatch, "rank ", Rank(2), " has ", 3, " elements");
  } catch (const std::exception& error) {
    CHECK(std::string(error.what()) == "rank 2 has 3 elements");
    CHECK(dynamic_cast<const Error&>(error).code() == ErrorCode::shape_mismatch);
  }
  const Error error(ErrorCode::collective_timeout, "late", {.rank = 1, .step = 4, .culprits = {2}});
  CHECK(error.context().rank == 1);
  CHECK(error.context().step == 4);
  CHECK_FALSE(error.context().device.has_value());
  CHECK(error.context().culprits == std::vector<int>{2});
  CHECK(std::string(error_name(error.code())) == "CollectiveTimeout");
}

TEST_CASE("deadlines pass, and never does not") {
  const Deadline never = Deadline::never();
  CHECK_FALSE(never.passed());
  CHECK(never.left_ns() == INT64_MAX);
  CHECK(Deadline::after_ns(-1).passed());
  const Deadline later = Deadline::after_ns(seconds_to_ns(3600));
  CHECK_FALSE(later.passed());
  CHECK(later.left_ns() > seconds_to_ns(3599));
  CHECK(later.left_ns() <= seconds_to_ns(3600));
}

}  // namespace weft
