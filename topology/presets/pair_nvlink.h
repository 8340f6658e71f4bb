// Two PCIe cards with three NVLink bridges (H100 NVL).
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr Bridge kBridgedPair[] = {{0, 1, 12}};

inline constexpr Machine kPairNvlink{
    .name = "pair-nvlink",
    .device = "simulated bridged GPU",
    .cpu = "simulated CPU",
    .devices = 2,
    .devices_per_cpu = 2,
    .cpus_per_system = 1,
    .nvlink = {4, 12, 12 * 26.562e9 * kNvlinkEfficiency, kNvlinkLatency, {}, kBridgedPair},
    .pcie = pcie(5, kPcie5Rate, 0),
    .source =
        "two PCIe cards with three NVLink bridges, 12 NVLinks of generation 4 (H100 NVL data "
        "sheet); rate and latency are estimates from the efficiency and latency of two H200"};

}  // namespace weft::topology::presets
