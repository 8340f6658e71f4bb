// Runs calls on a rig and checks them: against a reduction on the host, element by element and bit
// by bit (any NaN for a NaN); the ranks' outputs against each other byte by byte; and that nothing
// around the outputs was written.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/cuda/flagged_rig.h"

namespace weft::bench {

class Checker {
 public:
  using Buffer = std::vector<std::uint8_t>;

  explicit Checker(const RigOptions& options);  // inputs of random bits

  Rig& rig() { return rig_; }
  Buffer& inputs(int rank) { return inputs_[at(rank)]; }
  int failures() const { return failures_; }
  int calls() const { return calls_; }

  void upload();      // after changes to the inputs
  void make_bools();  // every byte of the inputs 0 or 1

  // One call; nothing where the family cannot serve it.
  void run(const Call& call);
  // Calls that follow each other without a wait, each into its own part of the outputs, in order.
  void run_all(const std::vector<Call>& calls);
  void fail_call(const Call& call, const char* why);

 private:
  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }
  // The output: the input where it is in place, else what no result is; a margin on both sides.
  void poison(const Call& call);
  void download(std::int64_t bytes);
  void verify(const Call& call);

  Rig rig_;
  std::vector<Buffer> inputs_;
  std::vector<Buffer> outputs_;
  int failures_ = 0;
  int calls_ = 0;
};

}  // namespace weft::bench
