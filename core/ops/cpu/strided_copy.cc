// The copy of one strided host view to another.
//
// Dimensions of size 1 go; the others are turned so that the target's strides rise, sorted by them
// and joined where both sides run on. A contiguous pair becomes one memcpy, a permuted one the
// longest runs there are; what is left is walked like an odometer around an inner loop.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>

#include "core/ops/copy.h"

namespace weft {
namespace {

struct Dim {
  std::int64_t size = 1;
  std::int64_t to = 0;  // strides in bytes
  std::int64_t from = 0;
};

struct Plan {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  std::array<Dim, kMaxDims> storage{};
  int count = 0;
  std::span<Dim> dims() { return {storage.data(), static_cast<std::size_t>(count)}; }
};

std::int64_t magnitude(std::int64_t value) { return value < 0 ? -value : value; }

Plan make_plan(void* to, const Layout& to_layout, const void* from, const Layout& from_layout,
               std::int64_t item) {
  Plan plan{static_cast<std::byte*>(to), static_cast<const std::byte*>(from)};
  for (int i = 0; i < to_layout.dims(); ++i) {
    Dim dim{to_layout.sizes()[i], to_layout.strides()[i], from_layout.strides()[i]};
    if (dim.size == 1) continue;  // its strides mean nothing, and may be anything
    dim.to *= item;
    dim.from *= item;
    if (dim.to < 0) {
      plan.to += (dim.size - 1) * dim.to;
      plan.from += (dim.size - 1) * dim.from;
      dim.to = -dim.to;
      dim.from = -dim.from;
    }
    plan.storage[plan.count++] = dim;
  }
  std::ranges::stable_sort(plan.dims(), [](const Dim& a, const Dim& b) {
    return a.to != b.to ? a.to > b.to : magnitude(a.from) > magnitude(b.from);
  });
  int joined = 0;
  for (const Dim& dim : plan.dims()) {
    if (joined > 0) {
      Dim& outer = plan.storage[joined - 1];
      if (outer.to == dim.to * dim.size && outer.from == dim.from * dim.size) {
        outer = {outer.size * dim.size, dim.to, dim.from};
        continue;
      }
    }
    plan.storage[joined++] = dim;
  }
  plan.count = joined;
  return plan;
}

// memcpy of a constant size is one load and one store, and asks for no alignment.
template <int kItem>
void copy_line(std::byte* to, const std::byte* from, const Dim& line) {
  for (std::int64_t i = 0; i < line.size; ++i) {
    std::memcpy(to + i * line.to, from + i * line.from, kItem);
  }
}

using CopyLine = void (*)(std::byte*, const std::byte*, const Dim&);

CopyLine line_for(std::int64_t item, const Dim& line) {
  if (line.to == item && line.from == item) {
    return [](std::byte* to, const std::byte* from, const Dim& run) {
      std::memcpy(to, from, static_cast<std::size_t>(run.size * run.to));
    };
  }
  switch (item) {
    case 1:
      return copy_line<1>;
    case 2:
      return copy_line<2>;
    case 4:
      return copy_line<4>;
    default:
      return copy_line<8>;
  }
}

// Moves to the next line: the last outer dimension turns fastest. False after the last one.
bool advance(Plan& plan, std::span<const Dim> outer, std::span<std::int64_t> index) {
  for (std::size_t d = outer.size(); d-- > 0;) {
    plan.to += outer[d].to;
    plan.from += outer[d].from;
    if (++index[d] < outer[d].size) return true;
    plan.to -= outer[d].size * outer[d].to;
    plan.from -= outer[d].size * outer[d].from;
    index[d] = 0;
  }
  return false;
}

}  // namespace

void strided_copy_host(void* to, const Layout& to_layout, const void* from,
                       const Layout& from_layout, std::int64_t item_bytes) {
  if (to_layout.elements() == 0) return;
  Plan plan = make_plan(to, to_layout, from, from_layout, item_bytes);
  if (plan.count == 0) plan.storage[plan.count++] = {1, item_bytes, item_bytes};
  const Dim line = plan.storage[plan.count - 1];
  const CopyLine copy = line_for(item_bytes, line);
  std::array<std::int64_t, kMaxDims> index{};
  const std::span<const Dim> outer = plan.dims().first(static_cast<std::size_t>(plan.count - 1));
  do {
    copy(plan.to, plan.from, line);
  } while (advance(plan, outer, index));
}

}  // namespace weft
