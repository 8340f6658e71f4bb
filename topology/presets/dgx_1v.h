// DGX-1 with V100: the hybrid cube mesh. Who is wired to whom is as in the description that NCCL
// wrote of one (NCCL issue 671) and as nvidia-smi topo -m draws it: six links a GPU, single and
// double ones, two quads of GPUs and four wires between them.
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr Bridge kCubeMesh[] = {
    {0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {1, 2, 2}, {1, 3, 1}, {2, 3, 2},  // the first quad
    {4, 5, 1}, {4, 6, 1}, {4, 7, 2}, {5, 6, 2}, {5, 7, 1}, {6, 7, 2},  // the second
    {0, 4, 2}, {1, 5, 2}, {2, 6, 1}, {3, 7, 1},                        // between them
};

inline constexpr Machine kDgx1v{
    .name = "dgx-1v",
    .device = "simulated V100",
    .cpu = "simulated Xeon E5-2698 v4",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .nvlink = {2, 6, 6 * 23.95e9, kNvlinkLatency, {}, kCubeMesh},
    .pcie = pcie(3, kPcie3Rate, 2),
    .source =
        "hybrid cube mesh of NVLink 2 with 25 GB/s line rate per link and direction (NCCL "
        "issue 671 shows the wiring); a pair with two links gives 47.9 GB/s each way, both "
        "busy or not (Dell, \"Deep Learning on V100\", p2pBandwidthLatencyTest of four "
        "V100-SXM2); latency is an estimate: as on two H200; PCIe figures are estimates"};

}  // namespace weft::topology::presets
