// What the benchmark of eager calls is asked for on its command line.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "core/device/device.h"

namespace weft::bench {

struct EagerOptions {
  std::vector<DeviceId> devices{};    // one a rank
  std::string nccl = "libnccl.so.2";  // a path, or a name for the loader
  bool without_nccl = false;
  std::string json{};  // a file; empty: no record
  std::vector<std::size_t> sizes{1 << 10, 16 << 10, 64 << 10, 1 << 20};
  int calls = 400;
  int rounds = 7;
  int samples = 5;
  double timeout = 30;  // seconds that a wait may take
  int limit = 300;      // seconds that all may take
};

extern const char* const kEagerUsage;

// Throws InvalidArgument that names what is wrong. Devices: those asked for, else two GPUs, else
// two ranks on the one there is.
EagerOptions eager_options(const std::vector<std::string>& arguments);

}  // namespace weft::bench
