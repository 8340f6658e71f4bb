// What a test must give back: handles and memory of simulated devices, file descriptors, threads.
#pragma once

#include <dirent.h>

#include <chrono>
#include <ostream>
#include <thread>

#include "core/base/clock.h"
#include "core/device/sim/sim_device.h"
#include "core/device/sim/sim_memory.h"

namespace weft::testing {

inline int entries_of(const char* folder_path) {
  int count = 0;
  DIR* folder = opendir(folder_path);
  while (readdir(folder)) ++count;
  closedir(folder);
  return count;
}

struct Resources {
  std::int64_t handles = SimDevice::live_handles();
  std::int64_t memory = SimMemory::instance().bytes_in_use(DeviceOrdinal(0));
  int descriptors = entries_of("/proc/self/fd");
  int threads = entries_of("/proc/self/task");
  friend bool operator==(const Resources&, const Resources&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Resources& r) {
    return out << r.handles << " handles, " << r.memory << " bytes, " << r.descriptors
               << " descriptors, " << r.threads << " threads";
  }
};

// What is in use once it is no more than `before`, or after seconds of waiting: the kernel lists a
// thread for a moment longer than it takes to join it.
inline Resources left_over(const Resources& before) {
  const Deadline deadline = Deadline::after_ns(5'000'000'000);
  while (!(Resources() == before) && !deadline.passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return Resources();
}

}  // namespace weft::testing
