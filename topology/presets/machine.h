// What a description of a known machine says. One header a machine beside this one gives it, with
// the source of its figures; preset.cc makes the graph.
//
// Rates are what one direction gives while the other is busy too, as in an all-reduce, not the line
// rate. A figure that nobody measured is called an estimate, and says from what.
#pragma once

#include <span>
#include <string_view>

namespace weft::topology::presets {

// A direct wire of so many NVLinks between two GPUs.
struct Bridge {
  int a = 0;
  int b = 0;
  int links = 0;
};

struct NvLink {
  int generation = 0;
  int links = 0;                       // of one GPU
  double bytes_per_second = 0;         // of all of them
  double latency_seconds = 0;          // from GPU to GPU
  std::span<const int> into_switch{};  // links of every GPU into each NVSwitch, or
  std::span<const Bridge> bridges{};   // direct wires
};

// GPUs below switches, each switch below a host bridge of its own, bridges below cpus.
struct Pcie {
  int generation = 0;
  int gpus_per_switch = 0;  // 0: GPUs right on the cpu
  double switch_rate = 0;   // bytes per second from GPU to GPU below one switch,
  double cpu_rate = 0;      // below one cpu,
  double socket_rate = 0;   // and across sockets
};

// From a GPU to its cpu, instead of PCIe.
struct C2c {
  double bytes_per_second = 0;
  double latency_seconds = 0;
};

struct Machine {
  std::string_view name;
  std::string_view device;  // of the simulated devices
  std::string_view cpu;
  int devices = 0;
  int devices_per_cpu = 0;
  int cpus_per_system = 0;  // those of one operating system are joined and number their NUMA nodes
  NvLink nvlink{};
  Pcie pcie{};
  C2c c2c{};
  std::string_view source;
};

// Of the rate that the driver reports for NVLink 4 (18 x 26.562 GB/s), an H200 pair gives 386 GB/s.
inline constexpr double kNvlinkEfficiency = 386.0 / (18 * 26.562);
// A one-way flag between two H200.
inline constexpr double kNvlinkLatency = 0.64e-6;

// Line rates of 16 lanes with 128b/130b coding.
inline constexpr double kPcie3Rate = 8e9 * 16 * 128 / 130 / 8;
inline constexpr double kPcie4Rate = 2 * kPcie3Rate;
inline constexpr double kPcie5Rate = 4 * kPcie3Rate;
// Of the line rate, what PCIe 5.0 machines show within and across sockets; between the switches of
// one cpu nobody told, and halfway is the estimate.
inline constexpr double kSwitchShare = 0.86;
inline constexpr double kCpuShare = 0.74;
inline constexpr double kSocketShare = 0.62;
constexpr Pcie pcie(int generation, double rate, int gpus_per_switch) {
  return {generation, gpus_per_switch, rate * kSwitchShare, rate * kCpuShare, rate * kSocketShare};
}

// Latencies of the wires: 1.5 us from GPU to GPU below one switch, 2.5 us across sockets, both
// estimates.
inline constexpr double kPcieLatency = 0.75e-6;  // of the wire of a GPU
inline constexpr double kSwitchLatency = 0.1e-6;
inline constexpr double kBusLatency = 0.1e-6;
inline constexpr double kSocketLatency = 0.6e-6;

}  // namespace weft::topology::presets
