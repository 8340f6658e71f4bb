// What the driver has counted on each NVLink: data moved and errors.
//
// Nothing here throws; what is not told is nullopt. In virtual machines throughput counters are
// often masked: they read 0 on links that move data, or are not supported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/probe/nvml.h"

namespace weft::topology {

struct LinkCounters {
  std::int32_t device = 0;
  std::int32_t link = 0;  // NVML's number
  bool active = false;
  std::optional<std::uint64_t> sent_bytes, received_bytes;
  std::optional<std::uint64_t> replay_errors, recovery_errors, crc_errors;
};

struct CounterReading {
  std::int64_t at_ns = 0;  // by now_ns()
  std::vector<LinkCounters> links;
  std::vector<std::string> notes;
};

// Of the devices at those addresses, all links they have. `nvml` may be null: `why_not` is noted.
CounterReading read_counters(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             const std::string& why_not = {});
// Of this machine's CUDA devices.
CounterReading read_counters();

}  // namespace weft::topology
