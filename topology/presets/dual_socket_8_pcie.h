// Eight PCIe 4.0 cards without NVLink: two sockets, on each two switches with two cards.
#pragma once

#include "topology/presets/machine.h"

namespace weft::topology::presets {

inline constexpr Machine kDualSocket8Pcie{
    .name = "dual-socket-8-pcie",
    .device = "simulated PCIe GPU",
    .cpu = "simulated CPU",
    .devices = 8,
    .devices_per_cpu = 4,
    .cpus_per_system = 2,
    .pcie = pcie(4, kPcie4Rate, 2),
    .source =
        "PCIe 4.0 x16, pairs under a switch, two switches a socket, two sockets; estimates: "
        "86 % and 62 % of the line rate, the shares that PCIe 5.0 machines show within and "
        "across sockets, 74 % between the switches of a socket, and 1.5 to 2.5 us"};

}  // namespace weft::topology::presets
