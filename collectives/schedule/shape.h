// What can be said of a schedule step by step, without running it.
#pragma once

#include <optional>
#include <string>

#include "collectives/schedule/schedule.h"

namespace weft::schedule {

// Nothing if every step makes sense by itself; else a sentence with rank, step and what is wrong:
// chunks, groups and peers that exist, a target for every push, a sender for every slot read.
std::optional<std::string> shape_problem(const Schedule& schedule);

}  // namespace weft::schedule
