// The host's reduction loops: one piece at a time.
#pragma once

#include <cstdint>
#include <span>

#include "collectives/plan.h"

namespace weft::collectives {

// to[i] = sources[0][i] op sources[1][i] op ..., in that order, for `count` elements; `to` may be
// one of the sources. Added up in the wide type and rounded once. `divisor`: see reduce_element.
void reduce_piece(DType dtype, ReduceOp op, void* to, std::span<const void* const> sources,
                  std::int64_t count, int divisor);

}  // namespace weft::collectives
