// Stands in for core/ops/cuda in a build without CUDA.
#include "core/ops/strided_copy_cuda.h"

namespace weft {

bool strided_copy_cuda(Device&, Stream, void*, const Layout&, const void*, const Layout&,
                       std::int64_t) {
  return false;
}

}  // namespace weft
