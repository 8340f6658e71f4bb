// Layout: what it accepts, what it refuses, and overlap against a naive search.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/tensor/layout.h"
#include "core/tensor/overlap.h"
#include "tests/core/expect_error.h"

using weft::ErrorCode;
using weft::Layout;
using Numbers = std::vector<std::int64_t>;

namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

// The element offsets of a layout, in index order.
Numbers offsets(const Layout& layout) {
  Numbers all{0};
  if (layout.elements() == 0) return {};
  for (int d = 0; d < layout.dims(); ++d) {
    Numbers next;
    for (std::int64_t base : all) {
      for (std::int64_t i = 0; i < layout.sizes()[d]; ++i) {
        next.push_back(base + i * layout.strides()[d]);
      }
    }
    all = next;
  }
  return all;
}

Layout random_layout(std::mt19937& random, int max_dims, int max_size, int max_stride) {
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  Numbers sizes(static_cast<std::size_t>(pick(0, max_dims)));
  Numbers strides(sizes.size());
  for (auto& size : sizes) size = pick(pick(0, 9) == 0 ? 0 : 1, max_size);
  for (auto& stride : strides) stride = pick(-max_stride, max_stride);
  return Layout::strided(sizes, strides);
}

weft::Tensor view_of(std::vector<std::int16_t>& memory, Layout layout, std::int64_t offset) {
  auto storage = weft::Storage::adopt({}, memory.data(),
                                      weft::Bytes(2 * static_cast<std::int64_t>(memory.size())),
                                      false, nullptr, nullptr);
  return weft::Tensor(storage, weft::DType::i16, std::move(layout), offset);
}

}  // namespace

TEST_CASE("a contiguous layout has row-major strides") {
  const Layout layout = Layout::contiguous(Numbers{2, 3, 4});
  CHECK(Numbers(layout.strides().begin(), layout.strides().end()) == Numbers{12, 4, 1});
  CHECK(layout.elements() == 24);
  CHECK(layout.is_contiguous());
  CHECK(layout.extent().high == 24);
  CHECK(layout.str() == "(2, 3, 4)");
  CHECK(Layout::contiguous(Numbers{3}).str() == "(3,)");
  CHECK(Layout().str() == "()");
  CHECK(Layout().elements() == 1);
}

TEST_CASE("a layout of up to 64 dimensions keeps its sizes and strides when copied") {
  for (std::size_t dims : {0u, 8u, 9u, 64u}) {
    Numbers sizes(dims, 1);
    if (dims > 0) sizes.back() = 5;
    const Layout layout = Layout::contiguous(sizes);
    const Layout copy = layout;  // NOLINT: the copy is the point
    CHECK(Numbers(copy.sizes().begin(), copy.sizes().end()) == sizes);
    CHECK(copy.same_sizes(layout));
    CHECK(copy.elements() == (dims > 0 ? 5 : 1));
  }
  expect_error(ErrorCode::invalid_argument, [] { Layout::contiguous(Numbers(65, 1)); });
}

TEST_CASE("sizes that cannot be are refused") {
  expect_error(ErrorCode::invalid_argument, [] { Layout::contiguous(Numbers{2, -1}); });
  expect_error(ErrorCode::invalid_argument, [] { Layout::strided(Numbers{2}, Numbers{1, 1}); });
  expect_error(ErrorCode::size_overflow, [] { Layout::contiguous(Numbers{kMax, 2}); });
  expect_error(ErrorCode::size_overflow, [] { Layout::contiguous(Numbers{kMax, 2, 0}); });
  expect_error(ErrorCode::size_overflow,
               [] { Layout::strided(Numbers{3}, Numbers{kMax / 2 + 1}); });
  expect_error(ErrorCode::size_overflow, [] { Layout::strided(Numbers{2}, Numbers{kMin}); });
  expect_error(ErrorCode::size_overflow,
               [] { Layout::strided(Numbers{2, 2}, Numbers{kMax / 2 + 1, -kMax / 2 - 1}); });
  CHECK(Layout::contiguous(Numbers{kMax}).elements() == kMax);
  CHECK(Layout::strided(Numbers{1}, Numbers{kMin}).extent().high == 1);
}

TEST_CASE("an empty or single-element dimension does not spoil contiguity") {
  CHECK(Layout::strided(Numbers{2, 1, 3}, Numbers{3, 77, 1}).is_contiguous());
  CHECK(Layout::strided(Numbers{2, 0}, Numbers{5, 9}).is_contiguous());
  CHECK_FALSE(Layout::strided(Numbers{2, 3}, Numbers{1, 2}).is_contiguous());
  CHECK(Layout::strided(Numbers{2, 0}, Numbers{5, 9}).extent().high == 0);
}

TEST_CASE("extent and self-overlap agree with a walk over every index") {
  std::mt19937 random(7);
  int overlapping = 0;
  for (int round = 0; round < 4000; ++round) {
    const Layout layout = random_layout(random, 4, 4, 13);
    const Numbers all = offsets(layout);
    const std::set<std::int64_t> distinct(all.begin(), all.end());
    CAPTURE(layout.str());
    CHECK(layout.elements() == static_cast<std::int64_t>(all.size()));
    CHECK(layout.overlaps_itself() == (distinct.size() < all.size()));
    CHECK(layout.extent().low == (all.empty() ? 0 : *distinct.begin()));
    CHECK(layout.extent().high == (all.empty() ? 0 : *distinct.rbegin() + 1));
    overlapping += layout.overlaps_itself() ? 1 : 0;
  }
  CHECK(overlapping > 500);
  CHECK(overlapping < 3500);
}

TEST_CASE("overlap of two views agrees with a walk over both") {
  std::mt19937 random(8);
  std::vector<std::int16_t> memory(200);
  int overlapping = 0;
  for (int round = 0; round < 4000; ++round) {
    const Layout a = random_layout(random, 3, 4, 9);
    const Layout b = random_layout(random, 3, 4, 9);
    const auto place = [&](const Layout& layout) {
      return std::uniform_int_distribution<std::int64_t>(-layout.extent().low,
                                                         60 - layout.extent().low)(random);
    };
    const std::int64_t at_a = place(a);
    const std::int64_t at_b = place(b);
    std::set<std::int64_t> touched;
    for (std::int64_t offset : offsets(a)) touched.insert(at_a + offset);
    bool shared = false;
    for (std::int64_t offset : offsets(b)) shared = shared || touched.contains(at_b + offset);
    CHECK(weft::tensors_overlap(view_of(memory, a, at_a), view_of(memory, b, at_b)) == shared);
    overlapping += shared ? 1 : 0;
  }
  CHECK(overlapping > 500);
  CHECK(overlapping < 3500);
}

TEST_CASE("interleaved views of a large tensor do not overlap") {
  std::vector<std::int16_t> memory(1 << 20);
  const std::int64_t half = 1 << 19;
  const Layout every_other = Layout::strided(Numbers{half}, Numbers{2});
  CHECK_FALSE(
      weft::tensors_overlap(view_of(memory, every_other, 0), view_of(memory, every_other, 1)));
  const Layout columns = Layout::strided(Numbers{1024, 512}, Numbers{1024, 2});
  CHECK_FALSE(weft::tensors_overlap(view_of(memory, columns, 0), view_of(memory, columns, 1)));
  CHECK(weft::tensors_overlap(view_of(memory, columns, 0), view_of(memory, every_other, 0)));
}

TEST_CASE("a tensor may not leave its storage") {
  std::vector<std::int16_t> memory(10);
  const Layout reversed = Layout::strided(Numbers{10}, Numbers{-1});
  CHECK(view_of(memory, reversed, 9).touched().data() ==
        reinterpret_cast<std::byte*>(memory.data()));
  expect_error(ErrorCode::invalid_argument, [&] { view_of(memory, reversed, 8); });
  expect_error(ErrorCode::invalid_argument, [&] { view_of(memory, reversed, 10); });
  expect_error(ErrorCode::invalid_argument,
               [&] { view_of(memory, Layout::contiguous(Numbers{11}), 0); });
  expect_error(ErrorCode::invalid_argument,
               [&] { view_of(memory, Layout::contiguous(Numbers{1}), kMax); });
  CHECK(view_of(memory, Layout::contiguous(Numbers{0}), 500).touched().empty());
}
