// Symbolic sums for the verifier: in which order the inputs of which ranks were added up.
//
// A sum is a number; equal numbers mean equal expressions, so comparing two sums costs nothing.
// Every sum grows by one rank's input at a time (see Source), so it is a list, linked from its end.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace weft::schedule {

class Sums {
 public:
  static constexpr int kNothing = -1;  // memory that was never written

  // The input of `rank` at `place` (a piece of a chunk).
  int input(int rank, int place) { return intern({kNothing, rank, place}, 1); }
  // `sum` with that rank's input added behind it.
  int add(int sum, int rank) { return intern({sum, rank, place(sum)}, terms(sum) + 1); }

  int terms(int sum) const { return node(sum).terms; }
  int place(int sum) const { return node(sum).key[2]; }
  bool contains(int sum, int rank) const {
    for (int at = sum; at != kNothing; at = node(at).key[0]) {
      if (node(at).key[1] == rank) return true;
    }
    return false;
  }
  // The ranks in the order in which they were added: "2+3+0".
  std::string text(int sum) const {
    std::string out;
    for (int at = sum; at != kNothing; at = node(at).key[0]) {
      out = std::to_string(node(at).key[1]) + (out.empty() ? "" : "+") + out;
    }
    return out;
  }

 private:
  using Key = std::array<int, 3>;  // what was there before, the rank added, the place
  struct Node {
    Key key;
    int terms;
  };
  const Node& node(int sum) const { return nodes_[static_cast<std::size_t>(sum)]; }
  int intern(const Key& key, int terms) {
    const auto [found, fresh] = numbers_.try_emplace(key, static_cast<int>(nodes_.size()));
    if (fresh) nodes_.push_back({key, terms});
    return found->second;
  }

  std::vector<Node> nodes_;
  std::map<Key, int> numbers_;
};

}  // namespace weft::schedule
