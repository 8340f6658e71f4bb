// Checks and times the kernel families on CUDA devices, below the public calls.
//
//   weft_bench_families check LIST       LIST: a device a rank, e.g. 0,1 or 0,0,0
//   weft_bench_families faults           on devices 0 and 1
//   weft_bench_families time LIBNCCL.so.2 [LEAST [MOST]]   float32 sum in graph replay, devices 0,
//   1
//
// `check` compares every element with the arithmetic of executor/reduce.h, bit by bit, and the
// bytes around; it exits with 1 if any differs. `time` prints the median of the rounds in
// microseconds.
#include "bench/cuda/families.h"

#include <cstdlib>
#include <iostream>

namespace weft::bench {
namespace {

constexpr std::size_t kLeast = std::size_t{1} << 16;
constexpr std::size_t kMost = std::size_t{1} << 30;

std::vector<int> parse_devices(const std::string& list) {
  std::vector<int> devices;
  for (std::size_t at = 0; at < list.size(); at += 2) devices.push_back(list[at] - '0');
  return devices;
}

int run(const std::vector<std::string>& words) {
  if (words.size() >= 2 && words[0] == "check") {
    return check_families(parse_devices(words[1]));
  }
  if (words.size() == 1 && words[0] == "faults") return check_faults();
  if (words.size() >= 2 && words[0] == "time") {
    return time_families(words[1], words.size() > 2 ? std::stoull(words[2]) : kLeast,
                         words.size() > 3 ? std::stoull(words[3]) : kMost);
  }
  std::cerr
      << "usage: weft_bench_families check LIST | faults | time LIBNCCL.so.2 [LEAST [MOST]]\n";
  return 2;
}

}  // namespace
}  // namespace weft::bench

int main(int argc, char** argv) {
  try {
    return weft::bench::run({argv + 1, argv + argc});
  } catch (const weft::Error& error) {
    std::cerr << weft::error_name(error.code()) << ": " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
