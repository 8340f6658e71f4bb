// The flagged kernels (LL, Lamport) without the layers above: checked, and timed beside NCCL.
//
//   weft_bench_flagged check [DEVICES]      exits with 1 if a check fails
//   weft_bench_flagged time LIBNCCL.so.2    devices 0 and 1
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

#include "bench/cuda/flagged_rig.h"

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  try {
    if (what == "check") {
      return weft::bench::check_flagged(argc > 2 ? std::atoi(argv[2]) : 1) == 0 ? 0 : 1;
    }
    if (what == "time" && argc == 3) {
      weft::bench::time_flagged(argv[2]);
      return EXIT_SUCCESS;
    }
  } catch (const weft::Error& error) {
    std::cerr << weft::error_name(error.code()) << ": " << error.what() << "\n";
    return EXIT_FAILURE;
  }
  std::cerr << "usage: weft_bench_flagged check [DEVICES] | time LIBNCCL.so.2\n";
  return 2;
}
