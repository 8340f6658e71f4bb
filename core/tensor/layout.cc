#include "core/tensor/layout.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/tensor/overlap.h"

namespace weft {
namespace {

using Sizes = std::span<const std::int64_t>;

std::string tuple_str(Sizes values) {
  std::ostringstream out;
  out << '(';
  for (std::size_t i = 0; i < values.size(); ++i) out << (i ? ", " : "") << values[i];
  out << (values.size() == 1 ? ",)" : ")");
  return out.str();
}

// The number of elements. An empty dimension does not excuse the others: (2^62, 4, 0) has no
// strides.
std::int64_t checked_elements(Sizes sizes) {
  if (sizes.size() > static_cast<std::size_t>(kMaxDims)) {
    fail(ErrorCode::invalid_argument, sizes.size(), " dimensions: at most ", kMaxDims,
         " are possible");
  }
  std::int64_t product = 1;
  bool empty = false;
  for (std::int64_t size : sizes) {
    if (size < 0) fail(ErrorCode::invalid_argument, "negative size in shape ", tuple_str(sizes));
    empty = empty || size == 0;
    if (__builtin_mul_overflow(product, std::max<std::int64_t>(size, 1), &product)) {
      fail(ErrorCode::size_overflow, "shape ", tuple_str(sizes),
           " has more than 2^63 - 1 elements");
    }
  }
  return empty ? 0 : product;
}

}  // namespace

Layout Layout::contiguous(Sizes sizes) {
  const std::int64_t elements = checked_elements(sizes);
  std::array<std::int64_t, kMaxDims> strides{};
  std::int64_t stride = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<std::int64_t>(sizes[i], 1);
  }
  Layout layout(sizes, Sizes(strides.data(), sizes.size()));
  layout.elements_ = elements;
  return layout;
}

Layout Layout::strided(Sizes sizes, Sizes strides) {
  if (sizes.size() != strides.size()) {
    fail(ErrorCode::invalid_argument, sizes.size(), " sizes with ", strides.size(), " strides");
  }
  const std::int64_t elements = checked_elements(sizes);
  std::int64_t low = 0;
  std::int64_t high = 1;  // one past the highest, so that it has to fit as well
  std::int64_t span = 0;
  for (std::size_t i = 0; elements > 0 && i < sizes.size(); ++i) {
    std::int64_t reach = 0;
    std::int64_t& end = strides[i] < 0 ? low : high;
    if (__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) ||
        __builtin_add_overflow(end, reach, &end) || __builtin_sub_overflow(high, low, &span)) {
      fail(ErrorCode::size_overflow, "shape ", tuple_str(sizes), " with strides ",
           tuple_str(strides), " spans more than 2^63 - 1 elements");
    }
  }
  Layout layout(sizes, strides);
  layout.elements_ = elements;
  return layout;
}

Layout::Layout(Sizes sizes, Sizes strides) : dims_(static_cast<int>(sizes.size())) {
  std::int64_t* at = inline_.data();
  if (dims_ > kInlineDims) {
    heap_ = std::shared_ptr<std::int64_t[]>(new std::int64_t[2 * sizes.size()]);
    at = heap_.get();
  }
  std::copy(strides.begin(), strides.end(), std::copy(sizes.begin(), sizes.end(), at));
}

Sizes Layout::sizes() const {
  return {heap_ ? heap_.get() : inline_.data(), static_cast<std::size_t>(dims_)};
}

Sizes Layout::strides() const { return {sizes().data() + dims_, static_cast<std::size_t>(dims_)}; }

bool Layout::is_contiguous() const {
  if (elements_ == 0) return true;
  std::int64_t expected = 1;
  for (int i = dims_; i-- > 0;) {
    if (sizes()[i] == 1) continue;
    if (strides()[i] != expected) return false;
    expected *= sizes()[i];
  }
  return true;
}

bool Layout::overlaps_itself() const { return !is_contiguous() && layout_overlaps_itself(*this); }

Layout::Extent Layout::extent() const {
  if (elements_ == 0) return {};
  Extent extent{0, 1};
  for (int i = 0; i < dims_; ++i) {
    const std::int64_t reach = (sizes()[i] - 1) * strides()[i];
    (reach < 0 ? extent.low : extent.high) += reach;
  }
  return extent;
}

bool Layout::same_sizes(const Layout& other) const {
  return std::ranges::equal(sizes(), other.sizes());
}

std::string Layout::str() const { return tuple_str(sizes()); }

}  // namespace weft
