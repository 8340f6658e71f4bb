// All known machines, in the order in which they are listed.
#pragma once

#include <array>

#include "topology/presets/dgx_1v.h"
#include "topology/presets/dgx_a100.h"
#include "topology/presets/dgx_h100.h"
#include "topology/presets/dual_socket_8_pcie.h"
#include "topology/presets/gb200_nvl72.h"
#include "topology/presets/hgx_b200.h"
#include "topology/presets/hgx_h200.h"
#include "topology/presets/machine.h"
#include "topology/presets/pair_nvlink.h"
#include "topology/presets/pcie_4.h"

namespace weft::topology::presets {

inline constexpr std::array kMachines = {kHgxH200, kDgxH100,         kDgxA100,
                                         kHgxB200, kGb200Nvl72,      kDgx1v,
                                         kPcie4,   kDualSocket8Pcie, kPairNvlink};

}  // namespace weft::topology::presets
