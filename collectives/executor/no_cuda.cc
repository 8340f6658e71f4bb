// Stands in for executor/cuda/ in a build without CUDA. No CUDA fabric can be opened there, so that
// none of this can be reached.
#include "collectives/executor/cuda/executor.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

[[noreturn]] void absent() { fail(ErrorCode::internal, "this build of weft has no CUDA"); }

}  // namespace

schedule::TilingLimits cuda_ring_limits(const fabric::Fabric&, DType, std::int32_t) { absent(); }
void cuda_prepare_scratch(fabric::Fabric&) { absent(); }
void cuda_ring_preload(const fabric::Fabric&) { absent(); }
Work cuda_ring_work(const fabric::Fabric&, const Plan&, Rank) { absent(); }

}  // namespace weft::collectives
