// DGX H100: the HGX board of the generation with two CPUs (NVIDIA, DGX H100 user guide).
#pragma once

#include "topology/presets/hgx_h200.h"

namespace weft::topology::presets {

inline constexpr Machine kDgxH100{
    .name = "dgx-h100",
    .device = "simulated H100",
    .cpu = "simulated Xeon 8480C",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .nvlink = {4, 18, 375e9, kNvlinkLatency, kHopperSwitches, {}},
    .pcie = pcie(5, kPcie5Rate, 2),
    .source =
        "18 NVLinks of 25 GB/s line rate per direction through NVSwitch; 375 GB/s is the "
        "lower end of what p2pBandwidthLatencyTest printed per direction, both busy (NCCL "
        "issue 1264); latency as measured on two H200, the same link generation; PCIe "
        "figures are estimates"};

}  // namespace weft::topology::presets
