// DGX A100: eight GPUs with two NVLinks into each of six NVSwitches (NVIDIA, Fabric Manager user
// guide, "The NVIDIA HGX A100 GPU Baseboard").
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr int kA100Switches[] = {2, 2, 2, 2, 2, 2};

// Its CPUs have four NUMA nodes each by default; here a socket is one.
inline constexpr Machine kDgxA100{
    .name = "dgx-a100",
    .device = "simulated A100",
    .cpu = "simulated EPYC 7742",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .nvlink = {3, 12, 12 * 25e9 * kNvlinkEfficiency, kNvlinkLatency, kA100Switches, {}},
    .pcie = pcie(4, kPcie4Rate, 2),
    .source =
        "12 NVLinks of 25 GB/s line rate per direction through NVSwitch (DGX A100 data "
        "sheet); rate and latency are estimates from the efficiency and latency of two "
        "H200, those of PCIe from other machines"};

}  // namespace weft::topology::presets
