// HGX B200: eight GPUs with nine NVLinks into each of two NVSwitches (NVIDIA, Fabric Manager user
// guide, "NVIDIA HGX B200/B100 GPU Baseboard").
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr int kB200Switches[] = {9, 9};
// NCCL's constant for a link of sm_100 (src/graph/topo.h), of 50 GB/s line rate.
inline constexpr double kNvlink5Rate = 18 * 40.1e9;

inline constexpr Machine kHgxB200{
    .name = "hgx-b200",
    .device = "simulated B200",
    .cpu = "simulated CPU",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .nvlink = {5, 18, kNvlink5Rate, kNvlinkLatency, kB200Switches, {}},
    .pcie = pcie(5, kPcie5Rate, 2),
    .source =
        "18 NVLinks of 50 GB/s, 900 GB/s line rate per direction, through NVSwitch; usable "
        "are 40.1 GB/s a link by NCCL's constant for sm_100 (src/graph/topo.h), which "
        "agrees with the 720 GB/s that others measured; latency is an estimate: as on two "
        "H200; PCIe figures are estimates"};

}  // namespace weft::topology::presets
