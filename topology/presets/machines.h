// Known machines as data, each with the source of its figures.
//
// bytes_per_second is what one direction gives while the other is busy too, as in an all-reduce,
// not the line rate. A figure that nobody measured is called an estimate, and says from what.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "topology/topology.h"

namespace weft::topology::presets {

struct Way {
  PathKind kind = PathKind::unknown;
  std::int32_t count = 0;
  double bytes_per_second = 0;
  double latency_seconds = 0;
};

// Devices come in groups of `group` that are joined by `near`; between groups it is `far`.
struct Machine {
  std::string_view name;
  std::string_view device;
  int devices = 0;
  int group = 0;
  Way near{};
  Way far{};
  int devices_per_numa_node = 0;
  std::string_view source;
};

// Of the rate that the driver reports for NVLink 4 (18 x 26.562 GB/s), an H200 pair gives 386 GB/s.
inline constexpr double kNvlinkEfficiency = 386.0 / (18 * 26.562);
// PCIe 4.0 x16: 16 GT/s, 16 lanes, 128b/130b coding.
inline constexpr double kPcie4Rate = 16e9 * 16 * 128 / 130 / 8;

inline constexpr Way kH200Way{PathKind::nvlink, 18, 386e9, 0.64e-6};
inline constexpr Way kH100Way{PathKind::nvlink, 18, 375e9, 0.64e-6};
inline constexpr Way kA100Way{PathKind::nvlink, 12, 12 * 25e9 * kNvlinkEfficiency, 0.64e-6};
inline constexpr Way kBridgeWay{PathKind::nvlink, 12, 12 * 26.562e9 * kNvlinkEfficiency, 0.64e-6};
inline constexpr Way kPixWay{PathKind::pix, 0, kPcie4Rate * 0.86, 1.5e-6};
inline constexpr Way kSysWay{PathKind::sys, 0, kPcie4Rate * 0.62, 2.5e-6};

inline constexpr std::array kMachines = {
    Machine{"hgx-h200", "simulated H200", 8, 8, kH200Way, kH200Way, 4,
            "18 NVLinks of 26.562 GB/s per direction as the driver reports them, through NVSwitch; "
            "386 GB/s by copy engine with both directions busy and 0.64 us for a one-way flag, "
            "measured on two H200"},
    Machine{
        "dgx-h100", "simulated H100", 8, 8, kH100Way, kH100Way, 4,
        "18 NVLinks of 25 GB/s line rate per direction through NVSwitch; 375 GB/s is the lower "
        "end of what p2pBandwidthLatencyTest printed per direction, both busy (NCCL issue 1264); "
        "latency as measured on two H200, the same link generation"},
    Machine{"dgx-a100", "simulated A100", 8, 8, kA100Way, kA100Way, 4,
            "12 NVLinks of 25 GB/s line rate per direction through NVSwitch (DGX A100 data sheet); "
            "rate and latency are estimates from the efficiency and latency of two H200"},
    Machine{
        "pcie-4", "simulated PCIe GPU", 4, 2, kPixWay, kSysWay, 2,
        "PCIe 4.0 x16, pairs under one switch and pairs on two sockets; estimates: 86 % and 62 % "
        "of the line rate, the shares that PCIe 5.0 machines show within and across sockets, "
        "and 1.5 and 2.5 us"},
    Machine{"pair-nvlink", "simulated bridged GPU", 2, 2, kBridgeWay, kBridgeWay, 2,
            "two PCIe cards with three NVLink bridges, 12 NVLinks of generation 4 (H100 NVL data "
            "sheet); rate and latency are estimates from the efficiency and latency of two H200"},
};

}  // namespace weft::topology::presets
