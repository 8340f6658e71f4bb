// Both questions ask for solutions of  sum(stride_k * x_k) == target  with 0 <= x_k <= bound_k:
//   * two elements of one view: x_k is the difference of the indices, moved up by bound / 2; the
//     indices that are equal are one solution, so a second one means overlap;
//   * two views: the x_k are the indices of one and the mirrored indices of the other.
// Terms of one stride are joined. With the strides in falling order, what the smaller ones can
// still add bounds each x_k: in views of a contiguous tensor this leaves a value or two a
// dimension.
#include "core/tensor/overlap.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace weft {
namespace {

// 128 bits hold any sum of 130 products of 64-bit strides and differences that a valid layout
// makes.
using Wide = __int128;

struct Term {
  Wide stride = 0;
  Wide bound = 0;
  Wide reach_after = 0;  // the most that the terms behind this one can add
  Wide divisor_after = 0;
};

Wide gcd(Wide a, Wide b) {
  while (b != 0) {
    const Wide rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

class Equation {
 public:
  // Adds stride * x for x in 0..bound, of any sign: a negative stride is mirrored into the target.
  void add(Wide stride, Wide bound) {
    if (bound == 0) return;
    if (stride < 0) target_ -= stride * bound;
    terms_.push_back({.stride = stride < 0 ? -stride : stride, .bound = bound});
  }
  void add_to_target(Wide value) { target_ += value; }

  // Are there at least `wanted` (1 or 2) solutions? Two need one that is inside every bound.
  bool has_solutions(int wanted) {
    std::ranges::sort(terms_, std::greater<>(), &Term::stride);
    if (join_equal_strides() && wanted == 2) return true;
    Wide reach = 0;
    Wide divisor = 0;
    for (std::size_t i = terms_.size(); i-- > 0;) {
      terms_[i].reach_after = reach;
      terms_[i].divisor_after = divisor;
      reach += terms_[i].stride * terms_[i].bound;
      divisor = gcd(terms_[i].stride, divisor);
    }
    missing_ = wanted;
    if (target_ < 0 || target_ > reach) return false;
    search(0, target_);
    return missing_ <= 0;
  }

 private:
  // Were there any? With a solution inside the bounds, one x_k more and the other less is a second.
  bool join_equal_strides() {
    std::vector<Term> joined;
    for (const Term& term : terms_) {
      if (!joined.empty() && joined.back().stride == term.stride) {
        joined.back().bound += term.bound;
      } else {
        joined.push_back(term);
      }
    }
    const bool any = joined.size() < terms_.size();
    terms_ = std::move(joined);
    return any;
  }

  void search(std::size_t index, Wide target) {
    if (missing_ <= 0) return;
    if (++steps_ > kOverlapSearchLimit) {
      missing_ = 0;
      return;
    }
    if (index == terms_.size()) {
      missing_ -= target == 0 ? 1 : 0;
      return;
    }
    const Term& term = terms_[index];
    if (term.stride == 0) {  // every x_k does: bound + 1 solutions, at least two
      missing_ -= target == 0 ? 2 : 0;
      return;
    }
    const Wide left = target - term.reach_after;
    const Wide first = left <= 0 ? 0 : (left + term.stride - 1) / term.stride;
    const Wide last = std::min(term.bound, target / term.stride);
    for (Wide x = first; x <= last && missing_ > 0; ++x) {
      const Wide rest = target - x * term.stride;
      if (term.divisor_after != 0 ? rest % term.divisor_after == 0 : rest == 0) {
        search(index + 1, rest);
      } else if (++steps_ > kOverlapSearchLimit) {
        missing_ = 0;
      }
    }
  }

  std::vector<Term> terms_;
  Wide target_ = 0;
  int missing_ = 0;
  int steps_ = 0;
};

// The bytes of `tensor`, from the address of its first element on.
void add_bytes(Equation& equation, const Tensor& tensor, int sign) {
  const std::int64_t item = item_bytes(tensor.dtype());
  for (int i = 0; i < tensor.layout().dims(); ++i) {
    equation.add(Wide{sign} * tensor.layout().strides()[i] * item, tensor.layout().sizes()[i] - 1);
  }
  equation.add(sign, item - 1);
}

}  // namespace

bool layout_overlaps_itself(const Layout& layout) {
  if (layout.elements() == 0) return false;
  Equation equation;
  for (int i = 0; i < layout.dims(); ++i) {
    const Wide stride = layout.strides()[i] < 0 ? -Wide{layout.strides()[i]} : layout.strides()[i];
    const Wide last = layout.sizes()[i] - 1;
    equation.add(stride, 2 * last);
    equation.add_to_target(stride * last);
  }
  return equation.has_solutions(2);
}

bool tensors_overlap(const Tensor& a, const Tensor& b) {
  const std::span<std::byte> in_a = a.touched();
  const std::span<std::byte> in_b = b.touched();
  if (in_a.empty() || in_b.empty()) return false;
  const std::less<const std::byte*> before;
  if (!before(in_a.data(), in_b.data() + in_b.size()) ||
      !before(in_b.data(), in_a.data() + in_a.size())) {
    return false;
  }
  if (a.layout().is_contiguous() && b.layout().is_contiguous()) return true;
  Equation equation;
  add_bytes(equation, a, 1);
  add_bytes(equation, b, -1);
  equation.add_to_target(static_cast<Wide>(reinterpret_cast<std::intptr_t>(b.data())) -
                         reinterpret_cast<std::intptr_t>(a.data()));
  return equation.has_solutions(1);
}

}  // namespace weft
