// Which algorithm a request runs with.
//
// A forced algorithm that cannot serve is an error that says why, never silently another; "auto"
// goes by the table in force (tuner.h) and passes over rows that cannot serve. One rank alone is
// the identity under every name.
#include <algorithm>
#include <cstdint>
#include <string>

#include "collectives/executor/cuda/executor.h"
#include "collectives/executor/sim/executor.h"
#include "collectives/groups.h"
#include "collectives/request.h"
#include "collectives/schedule/hierarchical.h"
#include "core/base/error.h"

namespace weft::collectives {
namespace {

TuningCall tuning_call(const fabric::Fabric& fabric, const Request& request,
                       const CallOptions& options, const TuningTable& table) {
  const Tensor& input = request.first_input();
  return {
      .collective = request.call.collective,
      .floating = is_floating(input.dtype()),
      .captured = table.by_capture && (fabric.capturing() || fabric.are_capturing(options.streams)),
      .in_place = request.in_place(),
      .bytes = input.bytes().value()};
}

std::optional<schedule::Schedule> materialise(fabric::Fabric& fabric, const Request& request,
                                              Algorithm algorithm, std::int32_t group_size) {
  const bool hierarchical =
      algorithm == Algorithm::hierarchical && request.call.collective == Collective::all_reduce;
  if (!hierarchical) return request.kind().schedule(algorithm, fabric.world(), request.call);
  return schedule::hierarchical::materialise(
      fabric.world(), groups_of(fabric.topology(), session(fabric).device_of_rank, group_size));
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
  return sim_refusal(fabric, *schedule);
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
  const auto table = tuning(fabric);
  const TuningCall call = tuning_call(fabric, request, options, *table);
  std::uint32_t tried = 0;  // bit i: Algorithm(i)
  for (const TuningRow& row : table->rows) {
    const std::uint32_t bit = 1u << static_cast<unsigned>(row.algorithm);
    if ((tried & bit) != 0 || !fits(row, call)) continue;
    tried |= bit;
    const auto* schedule = find_schedule(fabric, request, row.algorithm, 0);
    if (!schedule) continue;
    why = alone ? "" : refusal(fabric, request, options, row.algorithm, schedule);
    if (why.empty()) return {row.algorithm, schedule, row.blocks};
  }
  fail(ErrorCode::invalid_argument, request.name(), ": no algorithm can serve this call: ", why);
}

}  // namespace weft::collectives
