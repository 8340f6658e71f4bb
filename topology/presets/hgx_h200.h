// HGX H200: eight GPUs behind four NVSwitches, as in every HGX board of that generation (NVIDIA,
// Fabric Manager user guide, "The NVIDIA HGX H100 GPU Baseboard": 5, 4, 4 and 5 links a GPU).
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr int kHopperSwitches[] = {5, 4, 4, 5};

inline constexpr Machine kHgxH200{
    .name = "hgx-h200",
    .device = "simulated H200",
    .cpu = "simulated CPU",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .nvlink = {4, 18, 386e9, kNvlinkLatency, kHopperSwitches, {}},
    .pcie = pcie(5, kPcie5Rate, 2),
    .source =
        "18 NVLinks of 26.562 GB/s per direction as the driver reports them, through "
        "NVSwitch; 386 GB/s by copy engine with both directions busy and 0.64 us for a "
        "one-way flag, measured on two H200; PCIe below it varies by vendor, drawn as two "
        "GPUs to a switch, with estimated figures"};

}  // namespace weft::topology::presets
