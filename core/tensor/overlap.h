// Do strided views share memory? Exact, where comparing ranges would refuse interleaved views.
//
// Invariants
//   1. Never says no when two elements share a byte.
//   2. Says yes without being sure only when the search has cost kOverlapSearchLimit steps, which
//      no view made by slicing, transposing or reshaping a contiguous tensor reaches.
#pragma once

#include "core/tensor/layout.h"
#include "core/tensor/tensor.h"

namespace weft {

inline constexpr int kOverlapSearchLimit = 100000;

// Do two different indices of the layout name one element?
bool layout_overlaps_itself(const Layout& layout);
// Is there a byte that both tensors touch?
bool tensors_overlap(const Tensor& a, const Tensor& b);

}  // namespace weft
