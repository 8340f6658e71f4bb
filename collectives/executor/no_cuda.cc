// Stands in for executor/cuda/ in a build without CUDA. No CUDA fabric can be opened there, so that
// none of this can be reached.
#include "collectives/executor/cuda/executor.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

[[noreturn]] void absent() { fail(ErrorCode::internal, "this build of weft has no CUDA"); }

}  // namespace

std::string cuda_refusal(fabric::Fabric&, const Request&, const CallOptions&, const Selection&) {
  absent();
}
schedule::Tiling cuda_tiling(fabric::Fabric&, const Plan&, const schedule::Extent&, std::int32_t) {
  absent();
}
std::shared_ptr<void> cuda_open(const fabric::Fabric&) { absent(); }
Work cuda_work(fabric::Fabric&, const Plan&, Rank) { absent(); }
ClockSample cuda_clock(const fabric::Fabric&, Rank) { absent(); }
void cuda_prepare_scratch(fabric::Fabric&) { absent(); }

}  // namespace weft::collectives
