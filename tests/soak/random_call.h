// One random collective with inputs whose results are known, and the look at what came out.
//
// Inputs are small integers, drawn from a key by rank and index, whose sums and products the dtype
// represents exactly: every element of every output, every input that must not change and the bytes
// around every tensor are compared bit by bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/schedule/schedule.h"
#include "tests/soak/draws.h"
#include "tests/soak/numbers.h"

namespace weft::testing {

// Memory of each rank, given out piece by piece, with a margin of known bytes before each.
class Board {
 public:
  static constexpr std::int64_t kMargin = 64;

  Board(const fabric::Fabric& fabric, std::int64_t bytes_per_rank);

  void clear();
  // `skew`: bytes past an address aligned to 64.
  Tensor take(int rank, std::int64_t elements, DType dtype, std::int64_t skew);
  // Bytes of margins that have changed.
  std::int64_t spoilt() const;

 private:
  struct Piece {
    int rank;
    std::int64_t margin;  // where it begins
    std::int64_t size;
  };
  std::byte* memory(int rank) const;

  std::vector<std::shared_ptr<Storage>> storages_;
  std::vector<std::int64_t> used_;
  std::vector<Piece> margins_;
};

class RandomCall {
 public:
  // The tensors lie on the board until it is cleared.
  RandomCall(const fabric::Fabric& fabric, Board& board, Draws& draws);

  // Inputs that follow from `key`; outputs that are neither old nor new results.
  void fill(std::uint64_t key);
  // `timeout_ns` of each wait; 0: the fabric's.
  std::shared_ptr<fabric::Operation> launch(fabric::Fabric& fabric,
                                            std::int64_t timeout_ns = 0) const;
  // One rank's call, from a thread of its own.
  std::shared_ptr<fabric::Operation> launch(fabric::Fabric& fabric, Rank rank,
                                            std::int64_t timeout_ns) const;
  // The steps that it takes.
  const schedule::Schedule& schedule(fabric::Fabric& fabric) const;
  // After the operation: how many elements are not what they should be; `what` tells of the first.
  std::int64_t wrong(std::string& what) const;

  collectives::Collective collective() const { return call_.collective; }
  collectives::Algorithm algorithm() const { return algorithm_; }
  std::int64_t elements() const { return elements_; }  // of all outputs
  std::string describe() const;

 private:
  static std::int64_t draw_length(Draws& draws);
  void choose_numbers(Draws& draws);
  void choose_splits(Draws& draws);
  void choose_partners(Draws& draws);
  void place(Board& board, Draws& draws);
  collectives::Call whole_call() const;
  collectives::CallOptions options(std::int64_t timeout_ns) const;
  // -1: the rank has none.
  std::int64_t input_elements(int rank) const;
  std::int64_t output_elements(int rank) const;

  int value(int rank, std::int64_t index) const;
  int reduced(std::int64_t index) const;
  int exchanged(int rank, std::int64_t index) const;
  int expected(int rank, std::int64_t index) const;
  template <class Expected>
  std::int64_t compare(const Tensor& tensor, const char* which, int rank, std::string& what,
                       const Expected& expected) const;

  int world_;
  collectives::Call call_{};
  collectives::Algorithm algorithm_ = collectives::Algorithm::automatic;
  const Numbers* numbers_ = nullptr;
  std::int64_t length_ = 0;  // of the shorter tensor of a rank
  bool in_place_ = false;
  int least_ = 0;  // values are least, least + unit, ..., of which there are span
  int unit_ = 1;
  int span_ = 2;
  std::vector<Rank> to_;
  std::vector<int> from_;             // send_recv: whom a rank gets from, or -1
  std::vector<std::int64_t> splits_;  // all_to_all: [from][to]; empty: even
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  std::int64_t elements_ = 0;
  std::uint64_t key_ = 0;
};

}  // namespace weft::testing
