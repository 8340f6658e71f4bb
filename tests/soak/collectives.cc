// Random collectives on simulated devices, every result compared: `weft_soak FIRST COUNT`.
//
// A seed is kPerSeed collectives on a fabric of 2 + seed % 7 ranks: alone, several in flight, or
// recorded and replayed with new inputs. The same seeds do the same, so that ranges may be run in
// any order, on any machine, and added up (bench/soak.py). Prints one line of JSON, and the first
// mismatch of each batch to stderr; exit 1 if there was any mismatch or error.
#include <cstdio>
#include <map>

#include "core/base/error.h"
#include "core/device/sim/scheduler.h"
#include "tests/collectives/sim_fabric.h"
#include "tests/soak/program.h"
#include "tests/soak/random_call.h"

namespace weft::testing {
namespace {

constexpr int kLeastWorld = 2;
constexpr int kMostWorld = 8;
constexpr std::int64_t kPerSeed = 10'000;
constexpr int kMostInFlight = 16;
constexpr std::int64_t kBoardBytes = 48 << 20;  // 16 collectives of the greatest size
constexpr std::uint64_t kScheduled = 320;  // one seed in so many draws the order of the ranks, too

struct Totals {
  std::int64_t collectives = 0;
  std::int64_t elements = 0;
  std::int64_t wrong = 0;
  Counts worlds;
  Counts kinds;
  Counts algorithms;
  Counts modes;
};

class Soak {
 public:
  explicit Soak(std::uint64_t seed, fabric::Fabric& fabric, Board& board, Totals& totals)
      : seed_(seed), draws_(seed), fabric_(fabric), board_(board), totals_(totals) {}

  void run() {
    while (done_ < kPerSeed) {
      const int kind = draws_.below(100);
      if (kind < 20) {
        batch("alone", 1, 1);
      } else if (kind < 60) {
        batch("in flight", draws_.between(2, kMostInFlight), 1);
      } else {
        batch("replayed", draws_.between(1, kMostInFlight), draws_.between(2, 4));
      }
    }
  }

 private:
  // `rounds` times the same calls with other inputs; the first as they are, more from a recording.
  void batch(const char* mode, int calls, int rounds) {
    calls = static_cast<int>(std::min<std::int64_t>(calls, kPerSeed - done_));
    rounds = static_cast<int>(std::min<std::int64_t>(rounds, (kPerSeed - done_) / calls));
    board_.clear();
    batch_.clear();
    for (int i = 0; i < calls; ++i) batch_.emplace_back(fabric_, board_, draws_);
    const bool replays = rounds > 1;
    std::shared_ptr<fabric::Graph> graph;
    if (replays) {
      fabric_.begin_capture();
      launch();
      graph = fabric_.end_capture();
    }
    for (int round = 0; round < rounds; ++round) {
      for (RandomCall& call : batch_) call.fill(draws_.next());
      wait(replays ? fabric_.replay(graph, {}, false) : launch());
      check();
    }
    totals_.modes[mode] += calls * rounds;
  }

  std::shared_ptr<fabric::Operation> launch() {
    std::shared_ptr<fabric::Operation> last;
    for (const RandomCall& call : batch_) last = call.launch(fabric_);
    return last;
  }

  static void wait(const std::shared_ptr<fabric::Operation>& operation) {
    if (!operation->wait_until(soon())) fail(ErrorCode::internal, "the operation did not end");
    if (const auto error = operation->error()) throw *error;
  }

  void check() {
    std::string what;
    std::int64_t wrong = board_.spoilt();
    if (wrong > 0) what = concat(wrong, " bytes beside the tensors have changed");
    for (const RandomCall& call : batch_) {
      wrong += call.wrong(what);
      totals_.elements += call.elements();
      ++totals_.kinds[collectives::name(call.collective())];
      ++totals_.algorithms[collectives::name(call.algorithm())];
      ++done_;
    }
    if (wrong > 0) {
      std::fprintf(stderr, "seed %llu, collective %lld: %s\n",
                   static_cast<unsigned long long>(seed_), static_cast<long long>(done_),
                   what.c_str());
    }
    totals_.wrong += wrong;
    totals_.collectives += static_cast<std::int64_t>(batch_.size());
  }

  std::uint64_t seed_;
  Draws draws_;
  fabric::Fabric& fabric_;
  Board& board_;
  Totals& totals_;
  std::vector<RandomCall> batch_;
  std::int64_t done_ = 0;
};

int soak(std::uint64_t first, std::uint64_t count) {
  Totals totals;
  const std::int64_t start = now_ns();
  std::map<int, std::shared_ptr<Fabric>> fabrics;
  std::map<int, Board> boards;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const int world = kLeastWorld + static_cast<int>(seed % (kMostWorld - kLeastWorld + 1));
    auto& fabric = fabrics[world];
    if (!fabric) fabric = open_sim(world);
    Board& board = boards.try_emplace(world, *fabric, kBoardBytes).first->second;
    SimScheduler::seed(seed % kScheduled == kScheduled - 1 ? seed : 0);
    const std::int64_t before = totals.collectives;
    Soak(seed, *fabric, board, totals).run();
    totals.worlds[std::to_string(world)] += totals.collectives - before;
  }
  JsonLine line(first, count);
  line.add("collectives", totals.collectives).add("elements", totals.elements);
  line.add("mismatches", totals.wrong);
  line.add("seconds", static_cast<double>(now_ns() - start) * 1e-9);
  line.add("ranks", totals.worlds).add("kinds", totals.kinds);
  line.add("algorithms", totals.algorithms).add("modes", totals.modes);
  line.print();
  return totals.wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::testing

int main(int count, char** arguments) {
  return weft::testing::run_seeds("weft_soak", count, arguments, weft::testing::soak);
}
