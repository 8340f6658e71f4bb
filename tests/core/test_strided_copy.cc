// Strided copies against a naive loop, and what copy_tensor refuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "core/ops/copy.h"
#include "tests/core/expect_error.h"

using weft::Bytes;
using weft::DType;
using weft::ErrorCode;
using weft::Layout;
using weft::Tensor;
using Numbers = std::vector<std::int64_t>;
using Memory = std::vector<unsigned char>;

namespace {

std::int64_t pick(std::mt19937& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

// A layout whose elements are distinct: strides of a permuted, padded, partly mirrored array.
Layout distinct_layout(std::mt19937& random, const Numbers& sizes) {
  Numbers order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Numbers strides(sizes.size());
  std::int64_t stride = pick(random, 1, 2);
  for (std::int64_t d : order) {
    strides[d] = pick(random, 0, 3) == 0 ? -stride : stride;
    stride *= std::max<std::int64_t>(sizes[d], 1);
    if (pick(random, 0, 2) == 0) stride += pick(random, 1, 3);
  }
  return Layout::strided(sizes, strides);
}

Layout any_layout(std::mt19937& random, const Numbers& sizes) {
  Numbers strides(sizes.size());
  for (auto& stride : strides) stride = pick(random, -5, 5);
  return Layout::strided(sizes, strides);
}

Memory random_memory(std::mt19937& random, std::int64_t bytes) {
  Memory memory(static_cast<std::size_t>(bytes));
  for (auto& byte : memory) byte = static_cast<unsigned char>(random());
  return memory;
}

void naive_copy(unsigned char* to, const Layout& to_layout, const unsigned char* from,
                const Layout& from_layout, std::int64_t item, int dim = 0) {
  if (dim == to_layout.dims()) {
    std::memcpy(to, from, static_cast<std::size_t>(item));
    return;
  }
  for (std::int64_t i = 0; i < to_layout.sizes()[dim]; ++i) {
    naive_copy(to + i * to_layout.strides()[dim] * item, to_layout,
               from + i * from_layout.strides()[dim] * item, from_layout, item, dim + 1);
  }
}

// Elements 0, 1, 2, ... of int32 on a device, as a view that owns its memory.
Tensor iota_tensor(const char* device, const Numbers& sizes) {
  Tensor tensor = Tensor::empty(sizes, DType::i32, weft::DeviceId::parse(device));
  auto* values = static_cast<std::int32_t*>(tensor.data());
  std::iota(values, values + tensor.layout().elements(), 0);
  return tensor;
}

Tensor view(const Tensor& base, Numbers sizes, Numbers strides, std::int64_t offset) {
  return Tensor(base.storage(), base.dtype(), Layout::strided(sizes, strides), offset);
}

}  // namespace

TEST_CASE("a strided copy equals a naive loop and writes nothing else") {
  std::mt19937 random(11);
  for (int round = 0; round < 5000; ++round) {
    Numbers sizes(static_cast<std::size_t>(pick(random, 0, 5)));
    for (auto& size : sizes) size = pick(random, pick(random, 0, 15) == 0 ? 0 : 1, 5);
    const Layout to = distinct_layout(random, sizes);
    const Layout from =
        pick(random, 0, 1) == 0 ? distinct_layout(random, sizes) : any_layout(random, sizes);
    const std::int64_t item = std::int64_t{1} << pick(random, 0, 3);
    const auto space = [&](const Layout& layout) {
      return (layout.extent().high - layout.extent().low) * item + 16;
    };
    const Memory source = random_memory(random, space(from));
    Memory expected = random_memory(random, space(to));
    Memory result = expected;
    // From any byte on: elements of NumPy arrays need not be aligned.
    const std::int64_t to_at = pick(random, 0, 8) - to.extent().low * item;
    const std::int64_t from_at = pick(random, 0, 8) - from.extent().low * item;
    naive_copy(expected.data() + to_at, to, source.data() + from_at, from, item);
    weft::strided_copy_host(result.data() + to_at, to, source.data() + from_at, from, item);
    CAPTURE(round);
    REQUIRE(result == expected);
  }
}

TEST_CASE("a copy of many dimensions equals a naive loop") {
  std::mt19937 random(12);
  Numbers sizes(64, 1);
  for (int d : {3, 20, 41, 63}) sizes[static_cast<std::size_t>(d)] = 3;
  const Layout to = distinct_layout(random, sizes);
  const Layout from = distinct_layout(random, sizes);
  const Memory source = random_memory(random, 4 * (from.extent().high - from.extent().low));
  Memory expected(static_cast<std::size_t>(4 * (to.extent().high - to.extent().low)));
  Memory result = expected;
  naive_copy(expected.data() - 4 * to.extent().low, to, source.data() - 4 * from.extent().low, from,
             4);
  weft::strided_copy_host(result.data() - 4 * to.extent().low, to,
                          source.data() - 4 * from.extent().low, from, 4);
  CHECK(result == expected);
}

TEST_CASE("copies between host and simulated devices, strided on either side") {
  const Tensor source = iota_tensor("cpu", {4, 6});
  const Tensor on_sim = Tensor::empty(Numbers{6, 4}, DType::i32, weft::DeviceId::parse("sim:1"));
  const auto version = on_sim.storage()->version();
  weft::copy_tensor(view(on_sim, {4, 6}, {1, 4}, 0), source);
  CHECK(on_sim.storage()->version() == version + 1);
  const Tensor back = Tensor::empty(Numbers{4, 6}, DType::i32, weft::DeviceId::parse("sim:2"));
  weft::copy_tensor(back, view(on_sim, {4, 6}, {1, 4}, 0));
  CHECK(static_cast<std::int32_t*>(on_sim.data())[1] == 6);
  CHECK(std::memcmp(back.data(), source.data(), 96) == 0);
}

TEST_CASE("a copy that is refused changes nothing") {
  const Tensor source = iota_tensor("cpu", {6});
  const Tensor target = iota_tensor("cpu", {6});
  const Tensor other = Tensor::empty(Numbers{6}, DType::f32, {});
  const auto reversed = [&](const Tensor& base) { return view(base, {6}, {-1}, 5); };
  expect_error(ErrorCode::shape_mismatch,
               [&] { weft::copy_tensor(target, view(source, {2, 3}, {3, 1}, 0)); });
  expect_error(ErrorCode::dtype_mismatch, [&] { weft::copy_tensor(target, other); });
  expect_error(ErrorCode::alias, [&] { weft::copy_tensor(view(target, {6}, {0}, 0), source); });
  expect_error(ErrorCode::alias, [&] { weft::copy_tensor(target, reversed(target)); });
  expect_error(ErrorCode::alias,
               [&] { weft::copy_tensor(view(target, {5}, {1}, 1), view(target, {5}, {1}, 0)); });
  expect_error(ErrorCode::invalid_argument, [&] { weft::copy_tensor(target, Tensor()); });
  const Tensor read_only(weft::Storage::adopt({}, target.data(), Bytes(24), true, nullptr, nullptr),
                         DType::i32, Layout::contiguous(Numbers{6}));
  expect_error(ErrorCode::read_only_buffer,
               [&] { weft::copy_tensor(read_only, reversed(source)); });
  CHECK(std::memcmp(target.data(), source.data(), 24) == 0);
  CHECK(target.storage()->version() == 0);
}

TEST_CASE("a view copied to itself and interleaved views are no conflict") {
  const Tensor base = iota_tensor("cpu", {6});
  weft::copy_tensor(base, base);
  weft::copy_tensor(view(base, {3}, {2}, 0), view(base, {3}, {2}, 1));
  const auto* values = static_cast<std::int32_t*>(base.data());
  CHECK(std::vector<std::int32_t>(values, values + 6) ==
        std::vector<std::int32_t>{1, 1, 3, 3, 5, 5});
}
