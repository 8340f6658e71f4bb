// What the C++ fuzz targets share: bytes read as numbers, and how a broken property ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

// libFuzzer's entry: aborts where the property of the target does not hold for the bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace weft::fuzz {

inline void require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", property);
  std::abort();
}

// Bytes, taken from the front. Small numbers are one byte, so that few changes of an input lead to
// what is nearly right; any other is an escape and eight bytes.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  // The next byte; 0 behind the end.
  std::uint8_t byte() {
    std::uint8_t value = 0;
    take(&value, 1);
    return value;
  }
  // -112 to 127 by one byte; 1 behind the end, which makes the least of most structs.
  std::int64_t number() {
    if (bytes_.empty()) return 1;
    const auto small = static_cast<std::int8_t>(byte());
    if (small >= -112) return small;
    std::int64_t value = 0;
    take(&value, sizeof value);
    return value;
  }
  template <class Integer>
  Integer number_as() {
    return static_cast<Integer>(number());
  }

 private:
  void take(void* to, std::size_t count) {
    count = std::min(count, bytes_.size());
    if (count > 0) std::memcpy(to, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
  }

  std::span<const std::uint8_t> bytes_;
};

}  // namespace weft::fuzz
