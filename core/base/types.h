// Strong types for the quantities that are easily mixed up.
//
// All are trivially copyable, usable in constant expressions and on the device (compiled with
// --expt-relaxed-constexpr), and convert to their representation only through value().
#pragma once

#include <compare>
#include <cstdint>
#include <ostream>

namespace weft {

template <class Tag, class Rep>
class Strong {
 public:
  using rep = Rep;
  constexpr Strong() = default;
  constexpr explicit Strong(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  friend constexpr auto operator<=>(Strong, Strong) = default;
  constexpr Strong& operator++() {
    ++value_;
    return *this;
  }

 private:
  Rep value_{};
};

template <class Tag, class Rep>
std::ostream& operator<<(std::ostream& out, Strong<Tag, Rep> value) {
  return out << value.value();
}

using Rank = Strong<struct RankTag, std::int32_t>;             // a member of a fabric, 0-based
using WorldSize = Strong<struct WorldSizeTag, std::int32_t>;   // ranks in a fabric
using DeviceOrdinal = Strong<struct DeviceTag, std::int32_t>;  // index among devices of one kind
using Step = Strong<struct StepTag, std::int32_t>;             // position in a rank's schedule
using Bytes = Strong<struct BytesTag, std::int64_t>;           // a size in memory

constexpr Bytes operator+(Bytes a, Bytes b) { return Bytes(a.value() + b.value()); }
constexpr Bytes operator*(Bytes a, std::int64_t n) { return Bytes(a.value() * n); }

// A count of published pieces. It wraps at 2^32, so it is compared by signed distance: correct as
// long as two epochs that meet are less than 2^31 apart.
class Epoch {
 public:
  constexpr Epoch() = default;
  constexpr explicit Epoch(std::uint32_t value) : value_(value) {}
  constexpr std::uint32_t value() const { return value_; }
  constexpr bool reached(Epoch goal) const {
    return static_cast<std::int32_t>(value_ - goal.value_) >= 0;
  }
  friend constexpr Epoch operator+(Epoch a, std::uint32_t n) { return Epoch(a.value_ + n); }
  friend constexpr bool operator==(Epoch, Epoch) = default;

 private:
  std::uint32_t value_ = 0;
};

}  // namespace weft
