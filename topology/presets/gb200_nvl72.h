// GB200 NVL72: a rack of 18 compute trays with two Grace CPUs and four GPUs each, and nine switch
// trays of two NVSwitches (NVIDIA, Multi-Node NVLink tuning guide, "Understanding Your
// Grace-Blackwell Systems"): one of every GPU's 18 NVLinks into each switch.
#pragma once

#include "topology/presets/hgx_b200.h"

namespace weft::topology::presets {

inline constexpr int kNvl72Switches[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

inline constexpr Machine kGb200Nvl72{
    .name = "gb200-nvl72",
    .device = "simulated GB200",
    .cpu = "simulated Grace",
    .devices = 72,
    .devices_per_cpu = 2,
    .cpus_per_system = 2,
    .nvlink = {5, 18, kNvlink5Rate, kNvlinkLatency, kNvl72Switches, {}},
    .c2c = {225e9, kPcieLatency},
    .source =
        "18 NVLinks of 50 GB/s line rate per direction into 18 NVSwitches; usable are 40.1 "
        "GB/s a link by NCCL's constant for sm_100 (src/graph/topo.h); C2C of 900 GB/s for "
        "both directions of a superchip (GB200 data sheet), so 225 GB/s a GPU and "
        "direction; latencies are estimates: of NVLink as on two H200, of C2C as of PCIe; "
        "NUMA nodes as each tray numbers them"};

}  // namespace weft::topology::presets
