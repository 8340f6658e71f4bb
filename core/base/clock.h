// The host clock of weft: steady, in nanoseconds. Wall-clock jumps never reach a deadline.
#pragma once

#include <chrono>
#include <cstdint>

namespace weft {

inline std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A span of time in seconds as users give it, in nanoseconds.
constexpr std::int64_t seconds_to_ns(double seconds) {
  return static_cast<std::int64_t>(seconds * 1e9);
}

// A point on now_ns(), or never.
class Deadline {
 public:
  static Deadline after_ns(std::int64_t ns) { return Deadline(now_ns() + ns); }
  static constexpr Deadline never() { return Deadline(INT64_MAX); }
  bool passed() const { return at_ns_ != INT64_MAX && now_ns() >= at_ns_; }
  constexpr std::int64_t at_ns() const { return at_ns_; }
  std::int64_t left_ns() const { return at_ns_ == INT64_MAX ? INT64_MAX : at_ns_ - now_ns(); }

 private:
  constexpr explicit Deadline(std::int64_t at_ns) : at_ns_(at_ns) {}
  std::int64_t at_ns_;
};

}  // namespace weft
