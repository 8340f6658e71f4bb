#include <algorithm>
#include <array>
#include <optional>
#include <vector>

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
      fail(ErrorCode::world_size, request.name(), ": ", count, " ", what, " for a fabric of ",
           world, " ranks; give one a rank");
    }
  }
}

// Root, partners and numbers of rows.
void check_call(const fabric::Fabric& fabric, const Request& request) {
  const int world = fabric.world().value();
  const Call& call = request.call;
  if (call.root.value() < 0 || call.root.value() >= world) {
    fail(ErrorCode::invalid_argument, request.name(), ": root is from 0 to ", world - 1, ", not ",
         call.root);
  }
  const bool sends = call.collective == Collective::send_recv;
  if (sends && call.to.size() != static_cast<std::size_t>(world)) {
    fail(ErrorCode::world_size, request.name(), ": ", call.to.size(), " receivers for a fabric of ",
         world, " ranks; give one a rank, or none for a rank");
  }
  if (sends && std::all_of(call.to.begin(), call.to.end(),
                           [](Rank to) { return to == schedule::kNobody; })) {
    fail(ErrorCode::invalid_argument, request.name(), ": nobody sends");
  }
  std::array<int, kMaxRanks> giver;
  giver.fill(-1);
  for (int rank = 0; sends && rank < world; ++rank) {
    const Rank to = call.to[static_cast<std::size_t>(rank)];
    if (to == schedule::kNobody) continue;
    if (to.value() < 0 || to.value() >= world) {
      refuse(ErrorCode::invalid_argument, rank,
             concat(request.name(), ": rank ", rank, " sends to rank ", to, " of ", world));
    }
    int& other = giver[static_cast<std::size_t>(to.value())];
    if (other >= 0) {
      refuse(ErrorCode::invalid_argument, rank,
             concat(request.name(), ": ranks ", other, " and ", rank, " both send to rank ", to));
    }
    other = rank;
  }
  const auto squared = static_cast<std::size_t>(world) * static_cast<std::size_t>(world);
  if (!call.splits.empty() && call.splits.size() != squared) {
    fail(ErrorCode::world_size, request.name(), ": splits hold ", call.splits.size(),
         " numbers; each of ", world, " ranks gives ", world);
  }
  for (std::size_t i = 0; i < call.splits.size(); ++i) {
    if (call.splits[i] >= 0) continue;
    refuse(ErrorCode::invalid_argument, static_cast<int>(i) / world,
           concat(request.name(), ": rank ", static_cast<int>(i) / world, " gives ", call.splits[i],
                  " rows to rank ", static_cast<int>(i) % world));
  }
}

// Every rank that has to has a tensor; what others give is not looked at.
void check_holders(const Request& request) {
  for (std::size_t r = 0; r < request.inputs.size(); ++r) {
    if (request.has_input(r) && !request.inputs[r].defined()) {
      refuse(ErrorCode::invalid_argument, static_cast<int>(r),
             concat(request.name(), ": rank ", r, " gives no tensor"));
    }
    if (request.has_output(r) && !request.outputs[r].defined()) {
      refuse(ErrorCode::invalid_argument, static_cast<int>(r),
             concat(request.name(), ": rank ", r, " has no output"));
    }
  }
}

bool lives_on(const fabric::Fabric& fabric, Rank rank, const Tensor& tensor) {
  if (tensor.device() == fabric.device(rank).id()) return true;
  // Host memory stands for the memory of a simulated rank: it is lent for the call.
  return fabric.backend() == DeviceKind::sim && tensor.device().kind == DeviceKind::cpu;
}

// One tensor against the first input: device and dtype.
void check_kind(const fabric::Fabric& fabric, const Request& request, int rank,
                const Tensor& tensor, const char* what) {
  const Tensor& first = request.first_input();
  if (!lives_on(fabric, Rank(rank), tensor)) {
    refuse(ErrorCode::device_mismatch, rank,
           concat(request.name(), ": rank ", rank, "'s ", what, " is on ", tensor.device().str(),
                  ", the rank is on ", fabric.device(Rank(rank)).id().str()));
  }
  if (tensor.dtype() != first.dtype()) {
    refuse(ErrorCode::dtype_mismatch, rank,
           concat(request.name(), ": rank ", rank, "'s ", what, " is ", dtype_name(tensor.dtype()),
                  ", rank ", request.first_rank(), "'s tensor is ", dtype_name(first.dtype())));
  }
}

// The sizes that a rank's input, or output, must have.
class Sizes {
 public:
  Sizes(const fabric::Fabric& fabric, const Request& request)
      : request_(request),
        n_(fabric.world().value()),
        shape_(request.first_input().layout().sizes()) {
    const bool divides =
        request.kind().shapes == Shapes::split ||
        (request.kind().shapes == Shapes::exchanged && request.call.splits.empty());
    if (divides && (shape_.empty() || shape_[0] % n_ != 0)) {
      refuse(ErrorCode::shape_mismatch, request.first_rank(),
             concat(request.name(), ": dimension 0 of shape ", request.first_input().layout().str(),
                    " is not a multiple of the ", n_, " ranks"));
    }
    if (!request.call.splits.empty() && shape_.empty()) {
      refuse(ErrorCode::shape_mismatch, 0, concat(request.name(), ": a scalar has no rows"));
    }
  }

  void check_input(int rank, const Tensor& tensor) const {
    const bool uneven = !request_.call.splits.empty();
    check(rank, "tensor", tensor, uneven ? std::optional(rows(rank * n_, 1)) : std::nullopt);
  }
  void check_output(int rank, const Tensor& tensor) const {
    std::optional<std::int64_t> length;
    if (!request_.call.splits.empty()) length = rows(rank, n_);
    if (request_.kind().shapes == Shapes::joined) length = shape_.empty() ? n_ : joined_rows();
    if (request_.kind().shapes == Shapes::split) length = shape_[0] / n_;
    check(rank, "output", tensor, length);
  }

 private:
  // The sum of n numbers of rows: what a rank gives (n * rank, 1) or gets (rank, n).
  std::int64_t rows(int begin, int stride) const {
    std::int64_t sum = 0;
    for (int i = 0; i < n_; ++i) {
      const auto at = static_cast<std::size_t>(begin + i * stride);
      if (__builtin_add_overflow(sum, request_.call.splits[at], &sum)) {
        fail(ErrorCode::size_overflow, request_.name(), ": splits add up to more than 2^63 - 1");
      }
    }
    return sum;
  }
  std::int64_t joined_rows() const {
    std::int64_t rows = 0;
    if (__builtin_mul_overflow(shape_[0], static_cast<std::int64_t>(n_), &rows)) {
      fail(ErrorCode::size_overflow, request_.name(), ": ", n_, " tensors of shape ",
           request_.first_input().layout().str(), " have more than 2^63 - 1 rows");
    }
    return rows;
  }
  void check(int rank, const char* what, const Tensor& tensor,
             std::optional<std::int64_t> length) const {
    const auto sizes = tensor.layout().sizes();
    const bool scalars = shape_.empty() && !length;
    const std::size_t rank_wanted = shape_.empty() && length ? 1 : shape_.size();
    bool right = sizes.size() == rank_wanted;
    if (right && !scalars) right = sizes[0] == length.value_or(shape_.empty() ? 0 : shape_[0]);
    for (std::size_t d = 1; right && d < sizes.size(); ++d) right = sizes[d] == shape_[d];
    if (right) return;
    std::vector<std::int64_t> wanted(shape_.begin(), shape_.end());
    if (length && wanted.empty()) wanted.push_back(*length);
    if (length) wanted[0] = *length;
    const Tensor& first = request_.first_input();
    const bool same = !length;
    refuse(ErrorCode::shape_mismatch, rank,
           concat(request_.name(), ": rank ", rank, "'s ", what, " has shape ",
                  tensor.layout().str(), ", ",
                  same ? concat("rank ", request_.first_rank(), "'s tensor has shape ",
                                first.layout().str())
                       : concat("it must have shape ", Layout::contiguous(wanted).str())));
  }

  const Request& request_;
  int n_;
  std::span<const std::int64_t> shape_;  // of the first input
};

void check_output(const Request& request, int rank, const Tensor& output) {
  if (output.read_only()) {
    refuse(ErrorCode::read_only_buffer, rank,
           concat(request.name(), ": rank ", rank, "'s output is read-only"));
  }
  if (output.layout().overlaps_itself()) {
    refuse(ErrorCode::alias, rank,
           concat(request.name(), ": rank ", rank, "'s output of shape ", output.layout().str(),
                  " has elements that share memory (a stride of 0, or overlapping strides)"));
  }
}

// One memory under one view. Empty tensors have none, whatever address they have.
bool same_view(const Tensor& a, const Tensor& b) {
  const auto equal = [](auto x, auto y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
  };
  return a.layout().elements() > 0 && a.data() == b.data() &&
         equal(a.layout().sizes(), b.layout().sizes()) &&
         equal(a.layout().strides(), b.layout().strides());
}

constexpr int kNoPlace = -1;

struct Place {
  const std::byte* begin;  // the lowest byte touched
  const std::byte* end;    // one past the highest
  const Tensor* tensor;
  int rank;
  const char* what;
  int place;  // in its rank's bucket

  std::string str() const {
    const std::string where = place == kNoPlace ? "" : concat(" at place ", place);
    return concat("rank ", rank, "'s ", what, where);
  }

  // Which of its bytes lie where the other's may lie too.
  std::string shared_with(const Place& other) const {
    return concat("bytes ", std::max(begin, other.begin) - begin, " to ",
                  std::min(end, other.end) - begin);
  }
};

void check_apart(const char* name, std::span<Place> used) {
  const auto before = [](const Place& a, const Place& b) { return a.begin < b.begin; };
  if (!std::is_sorted(used.begin(), used.end(), before)) {
    std::sort(used.begin(), used.end(), before);
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    for (std::size_t j = i + 1; j < used.size() && used[j].begin < used[i].end; ++j) {
      if (!tensors_overlap(*used[i].tensor, *used[j].tensor)) continue;
      refuse(ErrorCode::alias, used[j].rank,
             concat(name, ": ", used[i].str(), " and ", used[j].str(),
                    " share memory: ", used[i].shared_with(used[j]), " of the one, ",
                    used[j].shared_with(used[i]), " of the other"));
    }
  }
}

// No two of all ranks' tensors may share memory; an output that is its input counts once. Views
// that interleave without touching the same bytes are fine.
void check_overlap(const Request& request) {
  std::array<Place, 2 * kMaxRanks> places;
  std::size_t count = 0;
  const auto add = [&](const Tensor& tensor, std::size_t rank, const char* what) {
    const auto touched = tensor.touched();
    if (touched.empty()) return;
    places[count++] = {touched.data(), touched.data() + touched.size(),
                       &tensor,        static_cast<int>(rank),
                       what,           kNoPlace};
  };
  for (std::size_t r = 0; r < request.outputs.size(); ++r) {
    const bool given = request.has_input(r);
    const bool got = request.has_output(r);
    const bool same = given && got && same_view(request.inputs[r], request.outputs[r]);
    if (same && !request.kind().in_place && request.outputs.size() > 1) {
      refuse(ErrorCode::alias, static_cast<int>(r),
             concat(request.name(), ": rank ", r, "'s output is its input; it needs its own"));
    }
    if (got) add(request.outputs[r], r, "output");
    if (given && !same) add(request.inputs[r], r, "input");
  }
  check_apart(request.name(), std::span(places).first(count));
}

void check_bucket_overlap(std::size_t world, std::span<const Tensor> inputs,
                          std::span<const Tensor> outputs) {
  std::vector<Place> places;
  places.reserve(2 * outputs.size());
  const auto add = [&](const Tensor& tensor, std::size_t i, const char* what) {
    const auto touched = tensor.touched();
    if (touched.empty()) return;
    places.push_back({touched.data(), touched.data() + touched.size(), &tensor,
                      static_cast<int>(i % world), what, static_cast<int>(i / world)});
  };
  // Rank by rank: what was allocated in turn needs no sorting.
  for (std::size_t r = 0; r < world; ++r) {
    for (std::size_t i = r; i < outputs.size(); i += world) add(outputs[i], i, "output");
    if (inputs.data() == outputs.data()) continue;
    for (std::size_t i = r; i < inputs.size(); i += world) {
      if (!same_view(inputs[i], outputs[i])) add(inputs[i], i, "input");
    }
  }
  check_apart(name(Collective::all_reduce), places);
}

// Device, dtype and sizes of every tensor, and whether outputs can be written.
void check_tensors(const fabric::Fabric& fabric, const Request& request) {
  const Sizes sizes(fabric, request);
  for (int rank = 0; rank < fabric.world().value(); ++rank) {
    const auto r = static_cast<std::size_t>(rank);
    if (request.has_input(r)) {
      check_kind(fabric, request, rank, request.inputs[r], "tensor");
      sizes.check_input(rank, request.inputs[r]);
    }
    if (request.has_output(r)) {
      check_kind(fabric, request, rank, request.outputs[r], "output");
      sizes.check_output(rank, request.outputs[r]);
      check_output(request, rank, request.outputs[r]);
    }
  }
}

void check_options(const fabric::Fabric& fabric, const Request& request,
                   const CallOptions& options) {
  const DType dtype = request.dtype();
  if (request.kind().reduces && request.call.op == ReduceOp::avg && !is_floating(dtype)) {
    fail(ErrorCode::dtype_mismatch, request.name(), ": avg of ", dtype_name(dtype),
         " is not defined; it needs a floating-point dtype");
  }
  if (options.max_blocks < 0) {
    fail(ErrorCode::invalid_argument, request.name(), ": max_blocks is 1 or more, not ",
         options.max_blocks);
  }
  if (options.timeout_ns < 0 || options.timeout_ns > kLongestTimeoutNs) {
    fail(ErrorCode::invalid_argument, request.name(),
         ": timeout is greater than 0 and at most 1e9 seconds");
  }
  const auto world = static_cast<std::size_t>(fabric.world().value());
  if (!options.streams.empty() && options.streams.size() != world) {
    fail(ErrorCode::world_size, request.name(), ": ", options.streams.size(),
         " streams for a fabric of ", world, " ranks; give one a rank");
  }
  fabric.check_streams(options.streams);
}

}  // namespace

void validate(const fabric::Fabric& fabric, const Request& request, const CallOptions& options) {
  fabric.check_usable();
  check_counts(fabric, request);
  check_call(fabric, request);
  check_holders(request);
  check_tensors(fabric, request);
  check_options(fabric, request, options);
  check_overlap(request);
}

void validate_options(const fabric::Fabric& fabric, const Request& request,
                      const CallOptions& options) {
  fabric.check_usable();
  check_options(fabric, request, options);
}

void validate_bucket(const fabric::Fabric& fabric, std::span<const Tensor> inputs,
                     std::span<const Tensor> outputs) {
  const auto world = static_cast<std::size_t>(fabric.world().value());
  if (inputs.size() != outputs.size() || inputs.size() % world != 0) {
    fail(ErrorCode::shape_mismatch, "all_reduce: a bucket of ", inputs.size() / world,
         " tensors a rank, and ", outputs.size() / world, " outputs");
  }
  for (std::size_t i = 0; i < inputs.size(); i += world) {
    const Request place{Call{}, inputs.subspan(i, world), outputs.subspan(i, world)};
    try {
      check_holders(place);
      check_tensors(fabric, place);
      const DType dtype = inputs.front().dtype();
      if (place.dtype() != dtype) {
        refuse(ErrorCode::dtype_mismatch, 0,
               concat("all_reduce: the tensors of a bucket are of one dtype; this is ",
                      dtype_name(place.dtype()), ", the first is ", dtype_name(dtype)));
      }
    } catch (const Error& error) {
      throw Error(error.code(),
                  concat(error.message(), " (at place ", i / world, " of the bucket)"),
                  error.context());
    }
  }
  check_bucket_overlap(world, inputs, outputs);
}

}  // namespace weft::collectives
