// What the soak programs share: their two arguments, and the line of JSON that they print.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "core/base/error.h"

namespace weft::testing {

using Counts = std::map<std::string, std::int64_t>;

class JsonLine {
 public:
  JsonLine(std::uint64_t first, std::uint64_t count)
      : text_("{\"first\": " + std::to_string(first) + ", \"count\": " + std::to_string(count)) {}

  JsonLine& add(const char* name, std::int64_t value) { return put(name, std::to_string(value)); }
  JsonLine& add(const char* name, double value) {
    char digits[32];
    std::snprintf(digits, sizeof(digits), "%.3f", value);
    return put(name, digits);
  }
  JsonLine& add(const char* name, const Counts& counts) {
    std::string list = "{";
    for (const auto& [key, count] : counts) {
      list += (list.size() > 1 ? ", \"" : "\"") + key + "\": " + std::to_string(count);
    }
    return put(name, list + "}");
  }
  void print() const { std::printf("%s}\n", text_.c_str()); }

 private:
  JsonLine& put(const char* name, const std::string& value) {
    text_ += std::string(", \"") + name + "\": " + value;
    return *this;
  }

  std::string text_;
};

// Calls run(first, count) with what the command line says; its result is the exit code, 1 where it
// throws an Error, 2 for other arguments.
template <class Run>
int run_seeds(const char* program, int count, char** arguments, const Run& run) {
  const auto parse = [&](int i, std::uint64_t& value) {
    const char* end = arguments[i] + std::strlen(arguments[i]);
    const auto result = std::from_chars(arguments[i], end, value);
    return result.ec == std::errc() && result.ptr == end;
  };
  std::uint64_t first = 0;
  std::uint64_t seeds = 0;
  if (count != 3 || !parse(1, first) || !parse(2, seeds) || seeds == 0) {
    std::fprintf(stderr, "usage: %s FIRST_SEED SEEDS\n", program);
    return 2;
  }
  try {
    return run(first, seeds);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace weft::testing
