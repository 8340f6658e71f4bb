// How often durations occurred: buckets that are a 32nd of a power of two wide, so that a
// percentile is known to 1.6 %, whatever its size ("HDR histogram", G. Tene, 2012).
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace weft {

class Histogram {
 public:
  // A value below 0 counts as 0.
  void add(std::int64_t value) {
    ++counts_[bucket(value)];
    ++total_;
  }
  std::uint64_t total() const { return total_; }

  // The middle of the bucket of the least value that so large a share of them does not exceed; 0 of
  // nothing. 0 < share <= 1.
  double percentile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(share * static_cast<double>(total_) + 0.999999);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets && total_ > 0; ++i) {
      seen += counts_[i];
      if (seen >= std::max<std::uint64_t>(wanted, 1)) return (least(i) + least(i + 1) - 1) / 2;
    }
    return 0;
  }

 private:
  static constexpr int kParts = 5;  // bits: 32 buckets a power of two
  static constexpr std::size_t kBuckets = 64 << kParts;

  // Values up to 2^(kParts + 1) have a bucket each; of larger ones the first bits count.
  static std::size_t bucket(std::int64_t value) {
    const auto v = static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
    const int shift = std::max(0, static_cast<int>(std::bit_width(v)) - kParts - 1);
    return (static_cast<std::size_t>(shift) << kParts) + static_cast<std::size_t>(v >> shift);
  }
  // The least value of a bucket.
  static double least(std::size_t bucket) {
    const std::size_t first = std::size_t{2} << kParts;
    if (bucket < first) return static_cast<double>(bucket);
    const std::size_t shift = (bucket >> kParts) - 1;
    const std::size_t rest = bucket - (shift << kParts);
    return static_cast<double>(rest) * static_cast<double>(std::uint64_t{1} << shift);
  }

  std::array<std::uint32_t, kBuckets> counts_{};
  std::uint64_t total_ = 0;
};

}  // namespace weft
