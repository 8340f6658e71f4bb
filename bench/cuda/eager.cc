// What an all_reduce costs that is asked for call after call, from C++, beside NCCL in the same
// run.
//
//   weft_bench_eager --nccl LIBNCCL.so.2 --json eager.json
//
// float32 sums, all ranks from one host thread. A sample is on the host's clock: from the first of
// `calls` calls until every device is idle, over the number of calls; nothing waits in between.
// Each implementation has streams of its own, one a rank; NCCL gets both ranks' calls as one group.
// Rounds take turns; a time is the median of all samples, its spread that of the rounds' medians.
// Results are checked before the timing, and after it: in place, where sums would grow without end,
// zeros are added up. NVLink multicast is off. Without a device for each rank NCCL is left out.
// Every wait has a deadline; the program has one.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>

#include "bench/cuda/eager_options.h"
#include "bench/cuda/eager_rig.h"
#include "bench/cuda/record.h"
#include "core/base/clock.h"
#include "core/base/error.h"

namespace weft::bench {
namespace {

constexpr int kWrong = 1;
constexpr int kUsage = 2;
constexpr int kTimeout = 5;

// NCCL's start and its calls have no deadline of their own.
extern "C" void end_late(int) {
  constexpr char kWords[] = "weft_bench_eager: not done within --limit\n";
  if (write(STDERR_FILENO, kWords, sizeof kWords - 1) < 0) _exit(EXIT_FAILURE);
  _exit(kTimeout);
}

// Why NCCL cannot be there; empty if it can.
std::string problem_of_nccl(const EagerOptions& options) {
  if (options.without_nccl) return "not asked for";
  for (std::size_t i = 0; i < options.devices.size(); ++i) {
    if (options.devices[i].kind != DeviceKind::cuda) return "it needs CUDA devices";
    for (std::size_t k = 0; k < i; ++k) {
      if (options.devices[i] == options.devices[k]) return "it needs a device for each rank";
    }
  }
  return "";
}

// Microseconds of one call.
double sample(const Contender& contender, int calls) {
  const std::int64_t begin = now_ns();
  for (int i = 0; i < calls; ++i) contender.call();
  contender.wait();
  return 1e-3 * static_cast<double>(now_ns() - begin) / calls;
}

std::vector<EagerRow> rows_at(EagerRig& rig, const EagerOptions& options, std::size_t bytes,
                              bool in_place) {
  std::vector<Contender> contenders = rig.contenders(bytes, in_place);
  for (Contender& contender : contenders) {
    contender.row.bytes = bytes;
    contender.row.in_place = in_place;
    contender.row.calls = options.calls;
    contender.vectors->fill();
    contender.call();
    contender.wait();
    contender.row.wrong = contender.vectors->wrong(false);
    contender.vectors->clear();
    sample(contender, options.calls);  // warms up
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < contenders.size(); ++i) {
      // Each goes first in its turn: it finds the machine as the others left it.
      Contender& contender = contenders[(i + static_cast<std::size_t>(round)) % contenders.size()];
      std::vector<double>& samples = contender.row.rounds.emplace_back();
      for (int k = 0; k < options.samples; ++k) samples.push_back(sample(contender, options.calls));
    }
  }
  std::vector<EagerRow> rows;
  for (Contender& contender : contenders) {
    contender.row.wrong += contender.vectors->wrong(true);
    rows.push_back(std::move(contender.row));
  }
  return rows;
}

void print_head(const EagerOptions& options, const std::string& nccl) {
  std::printf("# all_reduce, float32 sum, eager, %d calls back to back; ranks on", options.calls);
  for (const DeviceId& id : options.devices) std::printf(" %s", id.str().c_str());
  std::printf("\n# NCCL: %s\n", nccl.c_str());
  std::printf("# us of one call, measured on the host: median, and spread of %d rounds\n",
              options.rounds);
  std::printf("%10s %6s %14s %9s %8s %9s %8s %10s %7s\n", "bytes", "place", "algo", "weft",
              "spread", "nccl", "spread", "weft/nccl", "#wrong");
}

void print(const std::vector<EagerRow>& rows) {
  const EagerRow& own = rows.front();
  std::size_t wrong = 0;
  for (const EagerRow& row : rows) wrong += row.wrong;
  std::printf("%10zu %6s %14s %9.2f %8.2f", own.bytes, own.in_place ? "in" : "out",
              own.algorithm.c_str(), own.time_us(), own.spread_us());
  if (rows.size() > 1) {
    const double other = rows[1].time_us();
    std::printf(" %9.2f %8.2f %10.2f", other, rows[1].spread_us(), own.time_us() / other);
  } else {
    std::printf(" %9s %8s %10s", "-", "-", "-");
  }
  std::printf(" %7zu\n", wrong);
  std::fflush(stdout);
}

int run(const std::vector<std::string>& command) {
  const EagerOptions options = eager_options({command.begin() + 1, command.end()});
  std::signal(SIGALRM, end_late);
  alarm(static_cast<unsigned>(options.limit));
  std::ofstream file;
  if (!options.json.empty()) file.open(options.json);
  if (!file) fail(ErrorCode::invalid_argument, "cannot write ", options.json);
  EagerRecord record;
  record.command = command;
  for (const DeviceId& id : options.devices) record.devices.push_back(id.str());
  const std::string without = problem_of_nccl(options);
  const auto library = without.empty() ? std::optional(options.nccl) : std::nullopt;
  EagerRig rig(options.devices, library, options.timeout);
  record.nccl = rig.nccl_version();
  print_head(options, without.empty() ? record.nccl : "left out: " + without);
  std::size_t wrong = 0;
  for (const std::size_t bytes : options.sizes) {
    for (const bool in_place : {false, true}) {
      const std::vector<EagerRow> rows = rows_at(rig, options, bytes, in_place);
      print(rows);
      for (const EagerRow& row : rows) wrong += row.wrong;
      record.rows.insert(record.rows.end(), rows.begin(), rows.end());
    }
  }
  if (file.is_open() && !(file << json_of(record) << std::flush)) {
    fail(ErrorCode::internal, "cannot write ", options.json);
  }
  return wrong == 0 ? EXIT_SUCCESS : kWrong;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  using weft::ErrorCode;
  try {
    return weft::bench::run({argv, argv + argc});
  } catch (const weft::Error& error) {
    std::cerr << weft::error_name(error.code()) << ": " << error.what() << "\n";
    if (error.code() == ErrorCode::collective_timeout) return weft::bench::kTimeout;
    if (error.code() != ErrorCode::invalid_argument) return EXIT_FAILURE;
    std::cerr << weft::bench::kEagerUsage;
    return weft::bench::kUsage;
  }
}
