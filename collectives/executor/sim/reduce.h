// The host's reduction loops: one piece at a time.
#pragma once

#include <cstdint>

#include "collectives/plan.h"

namespace weft::collectives {

// to[i] = a[i] op b[i] for `count` elements; to may be a or b. `divisor`: see reduce_element.
void reduce_piece(DType dtype, ReduceOp op, void* to, const void* a, const void* b,
                  std::int64_t count, int divisor);

}  // namespace weft::collectives
