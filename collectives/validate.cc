#include <algorithm>
#include <array>

#include "collectives/request.h"
#include "core/base/error.h"
#include "core/tensor/overlap.h"

namespace weft::collectives {
namespace {

constexpr std::int64_t kLongestTimeoutNs = 1'000'000'000'000'000'000;

[[noreturn]] void refuse(ErrorCode code, int rank, const std::string& message) {
  throw Error(code, message, {.rank = rank});
}

void check_counts(const fabric::Fabric& fabric, const Request& request) {
  const auto world = static_cast<std::size_t>(fabric.world().value());
  for (const auto& [what, count] : {std::pair{"tensors", request.inputs.size()},
                                    std::pair{"outputs", request.outputs.size()}}) {
    if (count != world) {
      fail(ErrorCode::world_size, request.name, ": ", count, " ", what, " for a fabric of ", world,
           " ranks; give one a rank");
    }
  }
}

bool lives_on(const fabric::Fabric& fabric, Rank rank, const Tensor& tensor) {
  if (tensor.device() == fabric.device(rank).id()) return true;
  // Host memory stands for the memory of a simulated rank: it is lent for the call.
  return fabric.backend() == DeviceKind::sim && tensor.device().kind == DeviceKind::cpu;
}

// One tensor against rank 0's input: device, dtype and shape.
void check_like_first(const fabric::Fabric& fabric, const Request& request, int rank,
                      const Tensor& tensor, const char* what) {
  const Tensor& first = request.inputs.front();
  if (!lives_on(fabric, Rank(rank), tensor)) {
    refuse(ErrorCode::device_mismatch, rank,
           concat(request.name, ": rank ", rank, "'s ", what, " is on ", tensor.device().str(),
                  ", the rank is on ", fabric.device(Rank(rank)).id().str()));
  }
  if (tensor.dtype() != first.dtype()) {
    refuse(ErrorCode::dtype_mismatch, rank,
           concat(request.name, ": rank ", rank, "'s ", what, " is ", dtype_name(tensor.dtype()),
                  ", rank 0's tensor is ", dtype_name(first.dtype())));
  }
  if (!tensor.layout().same_sizes(first.layout())) {
    refuse(ErrorCode::shape_mismatch, rank,
           concat(request.name, ": rank ", rank, "'s ", what, " has shape ", tensor.layout().str(),
                  ", rank 0's tensor has shape ", first.layout().str()));
  }
}

void check_output(const Request& request, int rank, const Tensor& output) {
  if (output.read_only()) {
    refuse(ErrorCode::read_only_buffer, rank,
           concat(request.name, ": rank ", rank, "'s output is read-only"));
  }
  if (output.layout().overlaps_itself()) {
    refuse(ErrorCode::alias, rank,
           concat(request.name, ": rank ", rank, "'s output of shape ", output.layout().str(),
                  " has elements that share memory (a stride of 0, or overlapping strides)"));
  }
}

bool same_view(const Tensor& a, const Tensor& b) {
  const auto equal = [](auto x, auto y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
  };
  return a.data() == b.data() && equal(a.layout().sizes(), b.layout().sizes()) &&
         equal(a.layout().strides(), b.layout().strides());
}

struct Place {
  const std::byte* begin;  // the lowest byte touched
  const std::byte* end;    // one past the highest
  const Tensor* tensor;
  int rank;
  const char* what;
};

// No two of all ranks' tensors may share memory; an output that is its input counts once. Views
// that interleave without touching the same bytes are fine.
void check_overlap(const Request& request) {
  std::array<Place, 2 * kMaxRanks> places;
  std::size_t count = 0;
  const auto add = [&](const Tensor& tensor, std::size_t rank, const char* what) {
    const auto touched = tensor.touched();
    if (touched.empty()) return;
    places[count++] = {touched.data(), touched.data() + touched.size(), &tensor,
                       static_cast<int>(rank), what};
  };
  for (std::size_t r = 0; r < request.outputs.size(); ++r) {
    add(request.outputs[r], r, "output");
    if (!same_view(request.inputs[r], request.outputs[r])) add(request.inputs[r], r, "input");
  }
  const auto used = std::span(places).first(count);
  std::sort(used.begin(), used.end(),
            [](const Place& a, const Place& b) { return a.begin < b.begin; });
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i + 1; j < count && used[j].begin < used[i].end; ++j) {
      if (!tensors_overlap(*used[i].tensor, *used[j].tensor)) continue;
      refuse(ErrorCode::alias, used[j].rank,
             concat(request.name, ": rank ", used[i].rank, "'s ", used[i].what, " and rank ",
                    used[j].rank, "'s ", used[j].what, " share memory"));
    }
  }
}

// A captured call would wait for nothing when it is replayed: refused until it can be right.
void check_not_capturing(const fabric::Fabric& fabric, const Request& request,
                         const CallOptions& options) {
  for (std::size_t r = 0; r < options.streams.size(); ++r) {
    const Rank rank(static_cast<std::int32_t>(r));
    if (fabric.device(rank).is_capturing(options.streams[r])) {
      refuse(ErrorCode::invalid_argument, rank.value(),
             concat(request.name, ": rank ", rank,
                    "'s stream is being captured into a graph, which is not there yet"));
    }
  }
}

void check_options(const fabric::Fabric& fabric, const Request& request,
                   const CallOptions& options) {
  const DType dtype = request.inputs.front().dtype();
  if (request.op == ReduceOp::avg && !is_floating(dtype)) {
    fail(ErrorCode::dtype_mismatch, request.name, ": avg of ", dtype_name(dtype),
         " is not defined; it needs float16, bfloat16, float32 or float64");
  }
  if (options.max_blocks < 0) {
    fail(ErrorCode::invalid_argument, request.name, ": max_blocks is 1 or more, not ",
         options.max_blocks);
  }
  if (options.timeout_ns < 0 || options.timeout_ns > kLongestTimeoutNs) {
    fail(ErrorCode::invalid_argument, request.name,
         ": timeout is greater than 0 and at most 1e9 seconds");
  }
  const auto world = static_cast<std::size_t>(fabric.world().value());
  if (!options.streams.empty() && options.streams.size() != world) {
    fail(ErrorCode::world_size, request.name, ": ", options.streams.size(),
         " streams for a fabric of ", world, " ranks; give one a rank");
  }
  if (!options.streams.empty() && fabric.backend() != DeviceKind::cuda) {
    fail(ErrorCode::invalid_argument, request.name, ": streams= is for CUDA fabrics");
  }
}

}  // namespace

void validate(const fabric::Fabric& fabric, const Request& request, const CallOptions& options) {
  fabric.check_usable();
  check_counts(fabric, request);
  for (int rank = 0; rank < fabric.world().value(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    check_like_first(fabric, request, rank, request.inputs[r], "tensor");
    check_like_first(fabric, request, rank, request.outputs[r], "output");
    check_output(request, rank, request.outputs[r]);
  }
  check_options(fabric, request, options);
  check_not_capturing(fabric, request, options);
  check_overlap(request);
}

}  // namespace weft::collectives
