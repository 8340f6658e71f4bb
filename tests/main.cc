// main() of every C++ test executable: doctest in random order, with the seed printed.
//
//   --seed=N     the order, and what tests draw from doctest::getContextOptions()->rand_seed
//   --repeat=N   runs the selected tests N times, seeds N, N + 1, ...; stops at the first failure
// and doctest's own options, e.g. -ts=stress for the concurrent tests (TEST_SUITE("stress")).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <random>

namespace {

constexpr int kUsageError = 2;

// The number after `name`, as in "--seed=7"; nothing if it is another argument.
std::optional<int> number_after(const char* name, const char* argument, bool& bad) {
  const std::size_t length = std::strlen(name);
  if (std::strncmp(argument, name, length) != 0) return std::nullopt;
  int value = 0;
  const char* end = argument + std::strlen(argument);
  const auto result = std::from_chars(argument + length, end, value);
  bad = bad || result.ec != std::errc() || result.ptr != end || value < 1;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  int seed = static_cast<int>(std::random_device()() % 1'000'000) + 1;
  int repeat = 1;
  bool bad = false;
  for (int i = 1; i < argc; ++i) {
    seed = number_after("--seed=", argv[i], bad).value_or(seed);
    repeat = number_after("--repeat=", argv[i], bad).value_or(repeat);
  }
  if (bad) {
    std::fprintf(stderr, "--seed= and --repeat= take a positive number\n");
    return kUsageError;
  }
  for (int i = 0; i < repeat; ++i) {
    std::printf("seed %d\n", seed + i);
    std::fflush(stdout);
    doctest::Context context;
    context.applyCommandLine(argc, argv);
    context.setOption("order-by", "rand");
    context.setOption("rand-seed", seed + i);
    context.setOption("minimal", i > 0);  // the first round says how many tests there are
    const int status = context.run();
    if (status != 0 || context.shouldExit()) return status;
  }
  if (repeat > 1) std::printf("%d rounds passed\n", repeat);
  return 0;
}
