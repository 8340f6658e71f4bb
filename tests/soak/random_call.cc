#include "tests/soak/random_call.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "collectives/request.h"

namespace weft::testing {
namespace {

using collectives::Algorithm;
using collectives::Collective;
using schedule::kNobody;

constexpr auto kMarginByte = std::byte{0xa5};
constexpr std::byte kUnwritten{0xdb};

constexpr std::array kDTypes = {DType::u8,   DType::i8,  DType::i16,       DType::i32,
                                DType::i64,  DType::f16, DType::f8_e4m3fn, DType::f8_e5m2,
                                DType::bf16, DType::f32, DType::f64,       DType::bool_};
constexpr std::array kCollectives = {
    Collective::all_reduce, Collective::all_reduce, Collective::all_reduce,
    Collective::all_reduce, Collective::all_reduce, Collective::reduce_scatter,
    Collective::all_gather, Collective::broadcast,  Collective::reduce,
    Collective::all_to_all, Collective::scatter,    Collective::gather,
    Collective::send_recv};

bool reduces(Collective collective) {
  return collective == Collective::all_reduce || collective == Collective::reduce ||
         collective == Collective::reduce_scatter;
}

std::vector<Algorithm> algorithms_of(Collective collective, DType dtype, bool in_place) {
  switch (collective) {
    case Collective::all_reduce: {
      std::vector<Algorithm> list = {
          Algorithm::automatic,        Algorithm::ring,         Algorithm::ll,
          Algorithm::one_shot,         Algorithm::two_shot,     Algorithm::push_two_shot,
          Algorithm::halving_doubling, Algorithm::hierarchical, Algorithm::copy_engine};
      if (is_floating(dtype) && !is_float8(dtype)) list.push_back(Algorithm::lamport);
      if (!in_place) list.push_back(Algorithm::one_shot_pull);
      return list;
    }
    case Collective::reduce_scatter:
      return {Algorithm::automatic, Algorithm::ring, Algorithm::one_shot, Algorithm::one_shot_pull};
    case Collective::all_gather:
      return {Algorithm::automatic, Algorithm::ring, Algorithm::ll, Algorithm::one_shot,
              Algorithm::copy_engine};
    case Collective::reduce:
      return {Algorithm::automatic, Algorithm::two_shot};
    default:
      return {Algorithm::automatic, Algorithm::ll, Algorithm::one_shot, Algorithm::copy_engine};
  }
}

// Calls visit(index, element) for each of a tensor; element: its bytes.
template <class Visit>
void for_each_element(const Tensor& tensor, const Visit& visit) {
  auto* at = static_cast<std::byte*>(tensor.data());
  const std::int64_t size = item_bytes(tensor.dtype());
  for (std::int64_t i = 0; i < tensor.layout().elements(); ++i) visit(i, at + i * size);
}

}  // namespace

Board::Board(const fabric::Fabric& fabric, std::int64_t bytes_per_rank) {
  for (Rank rank(0); rank.value() < fabric.world().value(); ++rank) {
    storages_.push_back(Storage::allocate(fabric.device(rank).id(), Bytes(bytes_per_rank)));
  }
  used_.resize(storages_.size());
}

std::byte* Board::memory(int rank) const {
  return static_cast<std::byte*>(storages_[static_cast<std::size_t>(rank)]->data());
}

void Board::clear() {
  std::fill(used_.begin(), used_.end(), 0);
  margins_.clear();
}

Tensor Board::take(int rank, std::int64_t elements, DType dtype, std::int64_t skew) {
  const auto r = static_cast<std::size_t>(rank);
  const std::int64_t size = item_bytes(dtype);
  const std::int64_t begin = (used_[r] + kMargin + 63) / 64 * 64 + skew / size * size;
  std::memset(memory(rank) + used_[r], static_cast<int>(kMarginByte),
              static_cast<std::size_t>(begin - used_[r]));
  margins_.push_back({rank, used_[r], begin - used_[r]});
  used_[r] = begin + elements * size;
  const std::int64_t sizes[] = {elements};
  return Tensor(storages_[r], dtype, Layout::contiguous(sizes), begin / size);
}

std::int64_t Board::spoilt() const {
  std::int64_t count = 0;
  for (const Piece& piece : margins_) {
    const std::byte* begin = memory(piece.rank) + piece.margin;
    count += piece.size - std::count(begin, begin + piece.size, kMarginByte);
  }
  return count;
}

RandomCall::RandomCall(const fabric::Fabric& fabric, Board& board, Draws& draws)
    : world_(fabric.world().value()) {
  call_.collective = draws.from(kCollectives);
  call_.root = Rank(draws.below(world_));
  choose_numbers(draws);
  length_ = draw_length(draws);
  const bool allowed = call_.collective == Collective::all_reduce ||
                       call_.collective == Collective::broadcast ||
                       call_.collective == Collective::reduce;
  in_place_ = allowed && draws.percent(50);
  algorithm_ = draws.from(algorithms_of(call_.collective, numbers_->dtype(), in_place_));
  if (call_.collective == Collective::all_to_all && draws.percent(50)) choose_splits(draws);
  if (call_.collective == Collective::send_recv) choose_partners(draws);
  place(board, draws);
}

std::int64_t RandomCall::draw_length(Draws& draws) {
  const int of_thousand = draws.below(1000);
  if (of_thousand < 900) return draws.below(65);
  return draws.below(of_thousand < 995 ? 1025 : 16'385);
}

// Integers whose sum, or product, over the ranks the dtype holds exactly, in whatever order.
void RandomCall::choose_numbers(Draws& draws) {
  using collectives::ReduceOp;
  constexpr std::array kOps = {ReduceOp::sum, ReduceOp::avg, ReduceOp::min, ReduceOp::max,
                               ReduceOp::prod};
  while (true) {
    numbers_ = &numbers_of(draws.from(kDTypes));
    call_.op = draws.from(kOps);
    const int most = numbers_->exact_to();
    unit_ = 1;
    least_ = 0;
    span_ = most + 1;
    if (!reduces(call_.collective)) return;
    const bool extremum = call_.op == ReduceOp::min || call_.op == ReduceOp::max;
    if (numbers_->dtype() == DType::bool_ && !extremum) continue;
    if (extremum) return;
    if (call_.op == ReduceOp::prod) {
      least_ = 1;
      span_ = 2;
      return;
    }
    if (call_.op == ReduceOp::avg) {
      if (!is_floating(numbers_->dtype())) continue;
      unit_ = world_;
    }
    span_ = most / (world_ * unit_) + 1;
    if (span_ > 1) return;
  }
}

void RandomCall::choose_splits(Draws& draws) {
  splits_.resize(static_cast<std::size_t>(world_) * static_cast<std::size_t>(world_));
  for (std::int64_t& rows : splits_) {
    rows = draws.percent(30) ? 0 : draws.below(static_cast<int>(length_) + 1);
  }
}

// Some ranks send, each to another one; a rank may send to itself.
void RandomCall::choose_partners(Draws& draws) {
  std::vector<int> receivers;
  for (int r = 0; r < world_; ++r) receivers.push_back(r);
  for (int r = world_ - 1; r > 0; --r) {
    std::swap(receivers[static_cast<std::size_t>(r)],
              receivers[static_cast<std::size_t>(draws.below(r + 1))]);
  }
  const int first = draws.below(world_);  // sends in any case
  from_.assign(receivers.size(), -1);
  for (int r = 0; r < world_; ++r) {
    const int to = receivers[static_cast<std::size_t>(r)];
    const bool sends = r == first || draws.percent(70);
    to_.push_back(sends ? Rank(to) : kNobody);
    if (sends) from_[static_cast<std::size_t>(to)] = r;
  }
}

std::int64_t RandomCall::input_elements(int rank) const {
  const auto n = static_cast<std::size_t>(world_);
  const auto r = static_cast<std::size_t>(rank);
  switch (call_.collective) {
    case Collective::reduce_scatter:
      return world_ * length_;
    case Collective::scatter:
      return rank == call_.root.value() ? world_ * length_ : -1;
    case Collective::send_recv:
      return to_[r] == kNobody ? -1 : length_;
    case Collective::all_to_all: {
      if (splits_.empty()) return world_ * length_;
      std::int64_t sum = 0;
      for (std::size_t to = 0; to < n; ++to) sum += splits_[r * n + to];
      return sum;
    }
    default:
      return length_;
  }
}

std::int64_t RandomCall::output_elements(int rank) const {
  const auto n = static_cast<std::size_t>(world_);
  const auto r = static_cast<std::size_t>(rank);
  switch (call_.collective) {
    case Collective::reduce:
      return rank == call_.root.value() ? length_ : -1;
    case Collective::all_gather:
      return world_ * length_;
    case Collective::gather:
      return rank == call_.root.value() ? world_ * length_ : -1;
    case Collective::send_recv:
      return from_[r] < 0 ? -1 : length_;
    case Collective::all_to_all: {
      if (splits_.empty()) return world_ * length_;
      std::int64_t sum = 0;
      for (std::size_t from = 0; from < n; ++from) sum += splits_[from * n + r];
      return sum;
    }
    default:
      return length_;
  }
}

void RandomCall::place(Board& board, Draws& draws) {
  const DType dtype = numbers_->dtype();
  const auto take = [&](int rank, std::int64_t elements) {
    const std::int64_t skew = draws.percent(50) ? 0 : draws.below(64);
    return elements < 0 ? Tensor() : board.take(rank, elements, dtype, skew);
  };
  for (int r = 0; r < world_; ++r) {
    inputs_.push_back(take(r, input_elements(r)));
    const std::int64_t elements = output_elements(r);
    outputs_.push_back(in_place_ && elements >= 0 ? inputs_.back() : take(r, elements));
    elements_ += std::max<std::int64_t>(0, elements);
  }
}

int RandomCall::value(int rank, std::int64_t index) const {
  const std::uint64_t place = static_cast<std::uint64_t>(index) << 8 | static_cast<unsigned>(rank);
  const std::uint64_t drawn = (key_ ^ place) * 0x9e3779b97f4a7c15;
  const auto span = static_cast<std::uint64_t>(span_);
  return least_ + unit_ * static_cast<int>((drawn >> 32) * span >> 32);
}

int RandomCall::reduced(std::int64_t index) const {
  using collectives::ReduceOp;
  int result = value(0, index);
  for (int r = 1; r < world_; ++r) {
    const int next = value(r, index);
    switch (call_.op) {
      case ReduceOp::sum:
      case ReduceOp::avg:
        result += next;
        break;
      case ReduceOp::min:
        result = std::min(result, next);
        break;
      case ReduceOp::max:
        result = std::max(result, next);
        break;
      case ReduceOp::prod:
        result *= next;
        break;
    }
  }
  return call_.op == ReduceOp::avg ? result / world_ : result;
}

// Of an all_to_all: what comes to `rank` at `index`.
int RandomCall::exchanged(int rank, std::int64_t index) const {
  if (splits_.empty()) {
    return value(static_cast<int>(index / length_), rank * length_ + index % length_);
  }
  const auto n = static_cast<std::size_t>(world_);
  const auto to = static_cast<std::size_t>(rank);
  std::size_t from = 0;
  while (index >= splits_[from * n + to]) index -= splits_[from++ * n + to];
  for (std::size_t before = 0; before < to; ++before) index += splits_[from * n + before];
  return value(static_cast<int>(from), index);
}

int RandomCall::expected(int rank, std::int64_t index) const {
  switch (call_.collective) {
    case Collective::all_reduce:
    case Collective::reduce:
      return reduced(index);
    case Collective::reduce_scatter:
      return reduced(rank * length_ + index);
    case Collective::broadcast:
      return value(call_.root.value(), index);
    case Collective::scatter:
      return value(call_.root.value(), rank * length_ + index);
    case Collective::all_gather:
    case Collective::gather:
      return value(static_cast<int>(index / length_), index % length_);
    case Collective::all_to_all:
      return exchanged(rank, index);
    case Collective::send_recv:
      return value(from_[static_cast<std::size_t>(rank)], index);
  }
  return 0;
}

void RandomCall::fill(std::uint64_t key) {
  key_ = mix(key);
  const auto size = static_cast<std::size_t>(item_bytes(numbers_->dtype()));
  for (int r = 0; r < world_; ++r) {
    const auto i = static_cast<std::size_t>(r);
    if (outputs_[i].defined() && outputs_[i].bytes().value() > 0) {
      std::memset(outputs_[i].data(), static_cast<int>(kUnwritten),
                  static_cast<std::size_t>(outputs_[i].bytes().value()));
    }
    if (!inputs_[i].defined()) continue;
    for_each_element(inputs_[i], [&](std::int64_t index, std::byte* element) {
      const std::uint64_t bits = numbers_->bits(value(r, index));
      std::memcpy(element, &bits, size);
    });
  }
}

collectives::Call RandomCall::whole_call() const {
  collectives::Call call = call_;
  call.to = to_;
  call.splits = splits_;
  return call;
}

collectives::CallOptions RandomCall::options(std::int64_t timeout_ns) const {
  collectives::CallOptions options;
  options.algorithm = algorithm_;
  options.timeout_ns = timeout_ns;
  return options;
}

std::shared_ptr<fabric::Operation> RandomCall::launch(fabric::Fabric& fabric,
                                                      std::int64_t timeout_ns) const {
  return collectives::run(fabric, whole_call(), inputs_, outputs_, options(timeout_ns));
}

std::shared_ptr<fabric::Operation> RandomCall::launch(fabric::Fabric& fabric, Rank rank,
                                                      std::int64_t timeout_ns) const {
  const auto r = static_cast<std::size_t>(rank.value());
  const auto n = static_cast<std::size_t>(world_);
  collectives::RankCall own{call_, inputs_[r], outputs_[r]};
  if (!to_.empty()) own.call.to = std::span(to_).subspan(r, 1);
  if (!splits_.empty()) own.call.splits = std::span(splits_).subspan(r * n, n);
  return collectives::run(fabric, rank, own, options(timeout_ns));
}

const schedule::Schedule& RandomCall::schedule(fabric::Fabric& fabric) const {
  const collectives::Request request{whole_call(), inputs_, outputs_};
  return collectives::select(fabric, request, options(0)).schedule->schedule;
}

template <class Expected>
std::int64_t RandomCall::compare(const Tensor& tensor, const char* which, int rank,
                                 std::string& what, const Expected& expected_at) const {
  const auto size = static_cast<std::size_t>(item_bytes(numbers_->dtype()));
  std::int64_t count = 0;
  for_each_element(tensor, [&](std::int64_t index, const std::byte* element) {
    const int should_be = expected_at(index);
    std::uint64_t bits = 0;
    std::memcpy(&bits, element, size);
    if (bits == numbers_->bits(should_be)) return;
    if (count++ > 0 || !what.empty()) return;
    what = concat(describe(), ": element ", index, " of rank ", rank, "'s ", which, " is not ",
                  should_be, "; as a whole number its bits are ", bits);
  });
  return count;
}

std::int64_t RandomCall::wrong(std::string& what) const {
  std::int64_t count = 0;
  for (int r = 0; r < world_; ++r) {
    const auto i = static_cast<std::size_t>(r);
    if (outputs_[i].defined()) {
      count += compare(outputs_[i], "output", r, what,
                       [&](std::int64_t index) { return expected(r, index); });
    }
    const bool kept = !in_place_ || !outputs_[i].defined();
    if (kept && inputs_[i].defined()) {
      count += compare(inputs_[i], "input", r, what,
                       [&](std::int64_t index) { return value(r, index); });
    }
  }
  return count;
}

std::string RandomCall::describe() const {
  return concat(collectives::name(call_.collective), " by ", collectives::name(algorithm_), " of ",
                length_, " ", dtype_name(numbers_->dtype()), in_place_ ? " in place" : "", ", ",
                collectives::name(call_.op), ", root ", call_.root,
                splits_.empty() ? "" : ", split", ", ", world_, " ranks");
}

}  // namespace weft::testing
