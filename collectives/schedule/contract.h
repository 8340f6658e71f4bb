// What a collective promises: which contributions every chunk of every output holds at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "collectives/schedule/schedule.h"

namespace weft::schedule {

struct Expected {
  enum class Kind : std::uint8_t { nothing, copy, sum };
  Kind kind = Kind::nothing;  // nothing: the output is not touched
  int rank = -1;              // of a copy: whose input
  int chunk = 0;              // of the input; of a sum: the same chunk of everybody's
};

struct Contract {
  int out_chunks = 0;
  std::vector<Expected> expected{};  // by rank and output chunk

  const Expected& at(int rank, int chunk) const {
    return expected[static_cast<std::size_t>(rank * out_chunks + chunk)];
  }
};

// find(rank, out_chunk) says what is expected there.
template <class Find>
Contract make_contract(const Schedule& schedule, const Find& find) {
  Contract contract{schedule.outputs()};
  for (int rank = 0; rank < schedule.world.value(); ++rank) {
    for (int chunk = 0; chunk < contract.out_chunks; ++chunk) {
      contract.expected.push_back(find(rank, chunk));
    }
  }
  return contract;
}

namespace contracts {

inline Contract all_reduce(const Schedule& s) {
  return make_contract(s, [](int, int chunk) { return Expected{Expected::Kind::sum, -1, chunk}; });
}
inline Contract reduce_scatter(const Schedule& s) {
  return make_contract(s, [](int rank, int) { return Expected{Expected::Kind::sum, -1, rank}; });
}
inline Contract reduce(const Schedule& s, Rank root) {
  return make_contract(s, [=](int rank, int chunk) {
    return rank == root.value() ? Expected{Expected::Kind::sum, -1, chunk} : Expected{};
  });
}
inline Contract all_gather(const Schedule& s) {
  return make_contract(s, [](int, int chunk) { return Expected{Expected::Kind::copy, chunk, 0}; });
}
inline Contract broadcast(const Schedule& s, Rank root) {
  return make_contract(
      s, [=](int, int chunk) { return Expected{Expected::Kind::copy, root.value(), chunk}; });
}
inline Contract gather(const Schedule& s, Rank root) {
  return make_contract(s, [=](int rank, int chunk) {
    return rank == root.value() ? Expected{Expected::Kind::copy, chunk, 0} : Expected{};
  });
}
inline Contract scatter(const Schedule& s, Rank root) {
  return make_contract(
      s, [=](int rank, int) { return Expected{Expected::Kind::copy, root.value(), rank}; });
}
inline Contract all_to_all(const Schedule& s) {
  return make_contract(
      s, [](int rank, int chunk) { return Expected{Expected::Kind::copy, chunk, rank}; });
}
inline Contract permute(const Schedule& s, const std::vector<Rank>& to) {
  return make_contract(s, [&](int rank, int) {
    for (std::size_t from = 0; from < to.size(); ++from) {
      if (to[from].value() == rank)
        return Expected{Expected::Kind::copy, static_cast<int>(from), 0};
    }
    return Expected{};
  });
}

}  // namespace contracts
}  // namespace weft::schedule
