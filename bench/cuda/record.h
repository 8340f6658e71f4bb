// The record of a run in C++: schema weft.bench/1, eager calls timed on the host's clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace weft::bench {

// One implementation at one size: a row, once it has its times.
struct EagerRow {
  std::string impl;       // "weft", "nccl"
  std::string algorithm;  // "lamport"; of NCCL "nccl"
  std::size_t bytes = 0;  // of a rank's float32 vector
  bool in_place = false;
  int calls = 0;                              // of one sample
  std::vector<std::vector<double>> rounds{};  // of samples: microseconds of one call
  std::optional<std::int64_t> blocks{};
  std::optional<std::int64_t> scratch_bytes{};
  std::size_t wrong = 0;  // elements, on all ranks

  double time_us() const;    // the median of all samples
  double spread_us() const;  // between the slowest and the fastest round's median
};

struct EagerRecord {
  std::vector<std::string> command;
  std::vector<std::string> devices;  // one a rank
  std::string nccl;                  // version; empty: not there
  std::vector<EagerRow> rows;
};

double median(std::vector<double> values);  // 0 of none
std::string json_of(const EagerRecord& record);

}  // namespace weft::bench
