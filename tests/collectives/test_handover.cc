// One operation after another, with nothing waiting in between: a rank that is done with its part
// goes on, and must leave alone what its peers have yet to read.
#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/collectives/sim_fabric.h"

namespace weft::testing {
namespace {

using collectives::Algorithm;
using collectives::Call;
using collectives::CallOptions;
using collectives::Collective;
using collectives::FaultPoint;

constexpr std::int64_t kRows = 700;

Tensor filled(std::int64_t elements, int rank, float value) {
  const std::int64_t sizes[] = {elements};
  Tensor tensor = Tensor::empty(sizes, DType::f32, sim(rank));
  float* data = static_cast<float*>(tensor.data());
  for (std::int64_t i = 0; i < elements; ++i) data[i] = value;
  return tensor;
}

std::int64_t others_than(const Tensor& tensor, float value) {
  const float* data = static_cast<const float*>(tensor.data());
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < tensor.layout().elements(); ++i) count += data[i] != value;
  return count;
}

CallOptions under(Algorithm algorithm) {
  CallOptions options;
  options.algorithm = algorithm;
  return options;
}

// What each collective gives when rank r's input is all r + 1.
float expected(Collective collective, int n, int root) {
  if (collective == Collective::broadcast) return static_cast<float>(root + 1);
  return static_cast<float>(n * (n + 1) / 2);
}

// Runs `first` with one rank that is late at one step, and right behind it an all-reduce that
// pushes into everyone's slots. True if both were right.
bool hands_over(Fabric& fabric, const Call& first, Algorithm algorithm, int late, int step) {
  const int n = fabric.world().value();
  const bool split = first.collective == Collective::reduce_scatter;
  std::vector<Tensor> inputs, outputs, next;
  for (int r = 0; r < n; ++r) {
    inputs.push_back(filled(split ? n * kRows : kRows, r, static_cast<float>(r + 1)));
    outputs.push_back(filled(kRows, r, -1));
    next.push_back(filled(kRows, r, 1000));
  }
  collectives::plan_fault(fabric, {FaultPoint::Action::delay, late, step, 5'000'000});
  const auto one = collectives::run(fabric, first, inputs, outputs, under(algorithm));
  collectives::plan_fault(fabric, {});
  const auto two =
      collectives::all_reduce(fabric, next, next, ReduceOp::sum, under(Algorithm::one_shot));
  REQUIRE(one->wait_until(soon()));
  REQUIRE(two->wait_until(soon()));
  REQUIRE_FALSE(one->error());
  REQUIRE_FALSE(two->error());
  std::int64_t wrong = 0;
  for (std::size_t r = 0; r < static_cast<std::size_t>(n); ++r) {
    wrong += others_than(outputs[r], expected(first.collective, n, first.root.value()));
    wrong += others_than(next[r], 1000.0F * static_cast<float>(n));
  }
  return wrong == 0;
}

}  // namespace

TEST_CASE("a rank that is done leaves the slots alone that a late one has yet to read") {
  struct Case {
    Call call;
    Algorithm algorithm;
  };
  const Case cases[] = {
      {{.collective = Collective::reduce_scatter}, Algorithm::ring},
      {{.collective = Collective::reduce_scatter}, Algorithm::one_shot},
      {{.collective = Collective::broadcast}, Algorithm::ll},
      {{.collective = Collective::all_reduce}, Algorithm::ring},
      {{.collective = Collective::all_reduce}, Algorithm::one_shot},
      {{.collective = Collective::all_reduce}, Algorithm::push_two_shot},
      {{.collective = Collective::all_reduce}, Algorithm::halving_doubling},
      {{.collective = Collective::all_reduce}, Algorithm::hierarchical},
  };
  for (const int n : {2, 3, 4, 6}) {
    const auto fabric = open_sim(n);
    for (const Case& c : cases) {
      for (int late = 0; late < n; ++late) {
        for (int step = 0; step < n; ++step) {
          const std::string name =
              concat(collectives::name(c.call.collective), " ", collectives::name(c.algorithm),
                     " of ", n, ", rank ", late, " late at step ", step);
          CHECK_MESSAGE(hands_over(*fabric, c.call, c.algorithm, late, step), name);
        }
      }
    }
  }
}

}  // namespace weft::testing
