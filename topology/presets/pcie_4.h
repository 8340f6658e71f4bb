// Four PCIe 4.0 cards in pairs below switches, a pair on each of two sockets.
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr Machine kPcie4{
    .name = "pcie-4",
    .device = "simulated PCIe GPU",
    .cpu = "simulated CPU",
    .devices = 4,
    .devices_per_cpu = 2,
    .cpus_per_system = 2,
    .pcie = pcie(4, kPcie4Rate, 2),
    .source =
        "PCIe 4.0 x16, pairs under one switch and pairs on two sockets; estimates: 86 % and "
        "62 % of the line rate, the shares that PCIe 5.0 machines show within and across "
        "sockets, and 1.5 and 2.5 us"};

}  // namespace weft::topology::presets
