// Shape and strides of a view, in elements.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace weft {

inline constexpr int kMaxDims = 64;

// Sizes and strides of up to kMaxDims dimensions, held in place: making one never allocates for up
// to kInlineDims dimensions.
class Layout {
 public:
  static constexpr int kInlineDims = 8;

  Layout() = default;
  // Row-major. Throws InvalidArgument for a negative size, SizeOverflow past 63 bits.
  static Layout contiguous(std::span<const std::int64_t> sizes);
  // Strides in elements, of any sign. Throws InvalidArgument or SizeOverflow.
  static Layout strided(std::span<const std::int64_t> sizes, std::span<const std::int64_t> strides);

  int dims() const { return dims_; }
  std::span<const std::int64_t> sizes() const;
  std::span<const std::int64_t> strides() const;
  std::int64_t elements() const { return elements_; }

  bool is_contiguous() const;
  // Do two different indices name one element (a stride of 0, or overlapping strides)?
  bool overlaps_itself() const;
  // The lowest and one past the highest element offset touched; {0, 0} when empty.
  struct Extent {
    std::int64_t low = 0;
    std::int64_t high = 0;
  };
  Extent extent() const;

  bool same_sizes(const Layout& other) const;
  std::string str() const;  // "(2, 3)"

 private:
  Layout(std::span<const std::int64_t> sizes, std::span<const std::int64_t> strides);

  int dims_ = 0;
  std::int64_t elements_ = 1;
  std::array<std::int64_t, 2 * kInlineDims> inline_{};
  std::shared_ptr<std::int64_t[]> heap_;  // sizes then strides, past kInlineDims
};

}  // namespace weft
