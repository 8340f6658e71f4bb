// Which algorithm a request runs with.
//
// A forced algorithm that cannot serve is an error that says why, never silently another; one rank
// alone is the identity under every name.
#include <algorithm>
#include <span>
#include <string>

#include "collectives/executor/cuda/executor.h"
#include "collectives/groups.h"
#include "collectives/request.h"
#include "collectives/schedule/hierarchical.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

// What "auto" tries, in this order: the first that can serve the call. On CUDA by the bytes of a
// rank's vector, from figures of 2 x H200 (bench/results); on more ranks these are predictions.
using Preference = std::span<const Algorithm>;

constexpr std::int64_t kLamportBytes = 16 << 20;
constexpr std::int64_t kPullBytes = 4 << 20;
constexpr std::int64_t kEngineBytes = 192 << 20;
constexpr std::int64_t kMoveLlBytes = 512 << 10;
constexpr std::int64_t kMoveEngineBytes = 64 << 20;

constexpr Algorithm kSimAllReduce[] = {Algorithm::ring, Algorithm::two_shot};
// Copy engines reach memory that kernels of a peer may not.
constexpr Algorithm kSmallAllReduce[] = {Algorithm::lamport, Algorithm::ll,
                                         Algorithm::one_shot_pull, Algorithm::two_shot,
                                         Algorithm::copy_engine};
constexpr Algorithm kMediumAllReduce[] = {Algorithm::lamport, Algorithm::push_two_shot,
                                          Algorithm::two_shot, Algorithm::copy_engine};
constexpr Algorithm kLargeAllReduce[] = {Algorithm::push_two_shot, Algorithm::two_shot,
                                         Algorithm::copy_engine};
constexpr Algorithm kHugeAllReduce[] = {Algorithm::copy_engine, Algorithm::push_two_shot,
                                        Algorithm::two_shot};
constexpr Algorithm kOthers[] = {Algorithm::one_shot_pull, Algorithm::one_shot, Algorithm::two_shot,
                                 Algorithm::ring};
constexpr Algorithm kMediumMoves[] = {Algorithm::one_shot_pull, Algorithm::one_shot,
                                      Algorithm::two_shot, Algorithm::copy_engine};
constexpr Algorithm kSmallMoves[] = {Algorithm::ll, Algorithm::one_shot_pull, Algorithm::one_shot,
                                     Algorithm::two_shot, Algorithm::copy_engine};
constexpr Algorithm kLargeMoves[] = {Algorithm::copy_engine, Algorithm::one_shot_pull,
                                     Algorithm::one_shot, Algorithm::two_shot};

Preference preferred(const fabric::Fabric& fabric, const Request& request) {
  const bool cuda = fabric.backend() == DeviceKind::cuda;
  const std::int64_t bytes = request.first_input().bytes().value();
  if (request.call.collective != Collective::all_reduce) {
    if (!cuda) return kOthers;
    if (bytes <= kMoveLlBytes) return kSmallMoves;
    return bytes < kMoveEngineBytes ? Preference(kMediumMoves) : Preference(kLargeMoves);
  }
  if (!cuda) return kSimAllReduce;
  if (bytes <= kPullBytes) return kSmallAllReduce;
  if (bytes <= kLamportBytes) return kMediumAllReduce;
  return bytes < kEngineBytes ? Preference(kLargeAllReduce) : Preference(kHugeAllReduce);
}

std::optional<schedule::Schedule> materialise(fabric::Fabric& fabric, const Request& request,
                                              Algorithm algorithm, std::int32_t group_size) {
  const bool hierarchical =
      algorithm == Algorithm::hierarchical && request.call.collective == Collective::all_reduce;
  if (!hierarchical) return request.kind().schedule(algorithm, fabric.world(), request.call);
  return schedule::hierarchical::materialise(
      fabric.world(), groups_of(fabric, session(fabric).device_of_rank, group_size));
}

// The schedule, made when it is first asked for; null if the collective has no such algorithm.
const schedule::Prepared* find_schedule(fabric::Fabric& fabric, const Request& request,
                                        Algorithm algorithm, std::int32_t group_size) {
  Session& s = session(fabric);
  const std::scoped_lock lock(s.mutex);
  const Call& call = request.call;
  for (const auto& made : s.schedules) {
    if (made->collective == call.collective && made->algorithm == algorithm &&
        made->root == call.root.value() && made->group_size == group_size &&
        std::equal(made->to.begin(), made->to.end(), call.to.begin(), call.to.end())) {
      return &made->prepared;
    }
  }
  auto schedule = materialise(fabric, request, algorithm, group_size);
  if (!schedule) return nullptr;
  s.schedules.push_back(std::make_unique<Session::Made>(Session::Made{
      call.collective, algorithm, call.root.value(), group_size,
      std::vector<Rank>(call.to.begin(), call.to.end()), schedule::prepare(std::move(*schedule))}));
  return &s.schedules.back()->prepared;
}

std::string available(fabric::Fabric& fabric, const Request& request) {
  std::string list;
  for (int a = 1; a <= static_cast<int>(Algorithm::hierarchical); ++a) {
    const auto algorithm = static_cast<Algorithm>(a);
    if (!find_schedule(fabric, request, algorithm, 0)) continue;
    list += concat(list.empty() ? "" : ", ", name(algorithm));
  }
  return list;
}

// Do the bits of its sums depend on more than the inputs? Two numbers have one sum, and integers
// wrap the same way in any order.
bool adds_in_its_own_order(const fabric::Fabric& fabric, const Request& request,
                           Algorithm algorithm) {
  const bool own_order = algorithm == Algorithm::ring || algorithm == Algorithm::hierarchical ||
                         algorithm == Algorithm::halving_doubling;
  return own_order && request.kind().reduces && fabric.world().value() > 2 &&
         is_floating(request.first_input().dtype());
}

// Why this algorithm cannot serve the request; empty if it can.
std::string refusal(fabric::Fabric& fabric, const Request& request, const CallOptions& options,
                    Algorithm algorithm, const schedule::Prepared* schedule) {
  if (!schedule) {
    return concat("there is none of that name; there are ", available(fabric, request));
  }
  if (options.deterministic && adds_in_its_own_order(fabric, request, algorithm)) {
    return "weft.deterministic forbids it: it does not add in rank order, so that its bits change "
           "with the number of ranks and from those of other algorithms";
  }
  const bool all_reduce = request.call.collective == Collective::all_reduce;
  if (algorithm == Algorithm::one_shot_pull && all_reduce && request.in_place()) {
    return "it reads inputs while outputs are written, so it needs out=";
  }
  const DType dtype = request.first_input().dtype();
  if (algorithm == Algorithm::lamport && !is_floating(dtype)) {
    return concat("its sentinel is a NaN, and ", dtype_name(dtype), " has none");
  }
  if (algorithm == Algorithm::lamport && is_float8(dtype)) {
    return concat("it is made for floats of 16 to 64 bits, and not for ", dtype_name(dtype));
  }
  if (fabric.backend() == DeviceKind::cuda) {
    return cuda_refusal(fabric, request, options, {algorithm, schedule});
  }
  return "";
}

// A bucket's tensors are read and written where they lie, which one algorithm does.
Selection select_for_bucket(fabric::Fabric& fabric, const Request& request,
                            const CallOptions& options) {
  constexpr Algorithm kOne = Algorithm::two_shot;
  const Algorithm wanted = options.algorithm;
  if (wanted != Algorithm::automatic && wanted != kOne && fabric.world().value() > 1) {
    fail(ErrorCode::invalid_argument, request.name(), ": algorithm \"", name(wanted),
         "\" cannot serve this call: it takes one vector a rank, and a bucket's tensors are not "
         "copied into one; there is two_shot");
  }
  const Selection selection{kOne, find_schedule(fabric, request, kOne, 0)};
  if (fabric.backend() == DeviceKind::cuda && fabric.world().value() > 1) {
    const std::string why = cuda_refusal(fabric, request, options, selection);
    if (!why.empty()) {
      fail(ErrorCode::invalid_argument, request.name(), ": this bucket cannot be served: ", why);
    }
  }
  return selection;
}

}  // namespace

Selection select(fabric::Fabric& fabric, const Request& request, const CallOptions& options) {
  if (request.bucket) return select_for_bucket(fabric, request, options);
  const bool alone = fabric.world().value() == 1;
  if (options.algorithm != Algorithm::automatic && !alone) {
    const auto* schedule = find_schedule(fabric, request, options.algorithm, options.group_size);
    const std::string why = refusal(fabric, request, options, options.algorithm, schedule);
    if (why.empty()) return {options.algorithm, schedule};
    fail(ErrorCode::invalid_argument, request.name(), ": algorithm \"", name(options.algorithm),
         "\" cannot serve this call: ", why);
  }
  std::string why;
  for (const Algorithm algorithm : preferred(fabric, request)) {
    const auto* schedule = find_schedule(fabric, request, algorithm, 0);
    if (!schedule) continue;
    why = alone ? "" : refusal(fabric, request, options, algorithm, schedule);
    if (why.empty()) return {algorithm, schedule};
  }
  fail(ErrorCode::invalid_argument, request.name(), ": no algorithm can serve this call: ", why);
}

}  // namespace weft::collectives
