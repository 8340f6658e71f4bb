// Symbolic sums for the verifier: in which order the inputs of which ranks were added up.
//
// A sum is a number; equal numbers mean equal expressions, so comparing two sums costs nothing.
// An expression is one rank's input of a place (a piece of an input chunk), or the sum of two.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace weft::schedule {

class Sums {
 public:
  static constexpr int kNothing = -1;  // memory that was never written

  explicit Sums(int ranks) : words_(static_cast<std::size_t>(ranks + 63) / 64) {}

  // The input of `rank` at `place`.
  int input(int rank, int place) {
    const int sum = intern(kInput | key(rank, place), {rank, kNothing, place, 1});
    ranks_of(sum)[static_cast<std::size_t>(rank) / 64] |= std::uint64_t{1} << (rank % 64);
    return sum;
  }
  // `first` + `second`, in that order.
  int add(int first, int second) {
    const int sum =
        intern(key(first, second), {first, second, place(first), terms(first) + terms(second)});
    for (std::size_t w = 0; w < words_; ++w) {
      ranks_of(sum)[w] = ranks_of(first)[w] | ranks_of(second)[w];
    }
    return sum;
  }

  int terms(int sum) const { return node(sum).terms; }
  int place(int sum) const { return node(sum).place; }
  bool contains(int sum, int rank) const {
    return (ranks_of(sum)[static_cast<std::size_t>(rank) / 64] >> (rank % 64) & 1) != 0;
  }
  // A rank that contributes to both, or -1.
  int shared(int a, int b) const {
    for (std::size_t w = 0; w < words_; ++w) {
      const std::uint64_t both = ranks_of(a)[w] & ranks_of(b)[w];
      if (both != 0) return static_cast<int>(w) * 64 + std::countr_zero(both);
    }
    return -1;
  }
  // The ranks in the order in which they were added: "2+3+0", "(0+1)+(2+3)".
  std::string text(int sum) const {
    if (sum == kNothing) return "nothing";
    const Node& n = node(sum);
    if (n.second == kNothing) return std::to_string(n.first);
    const bool leaf = node(n.second).second == kNothing;
    std::string out = text(n.first);
    out.append(leaf ? "+" : "+(").append(text(n.second)).append(leaf ? "" : ")");
    return out;
  }

 private:
  struct Node {
    int first;   // or the rank of an input
    int second;  // nothing: an input
    int place;
    int terms;
  };
  static constexpr std::uint64_t kInput = std::uint64_t{1} << 63;

  static std::uint64_t key(int a, int b) {
    return static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint32_t>(b);
  }
  const Node& node(int sum) const { return nodes_[static_cast<std::size_t>(sum)]; }
  std::uint64_t* ranks_of(int sum) { return &ranks_[static_cast<std::size_t>(sum) * words_]; }
  const std::uint64_t* ranks_of(int sum) const {
    return &ranks_[static_cast<std::size_t>(sum) * words_];
  }
  int intern(std::uint64_t key, const Node& made) {
    const auto [found, fresh] = numbers_.try_emplace(key, static_cast<int>(nodes_.size()));
    if (fresh) {
      nodes_.push_back(made);
      ranks_.resize(ranks_.size() + words_);
    }
    return found->second;
  }

  std::size_t words_;
  std::vector<Node> nodes_;
  std::vector<std::uint64_t> ranks_;  // of each node: a bit a rank
  std::unordered_map<std::uint64_t, int> numbers_;
};

}  // namespace weft::schedule
