// A schedule with what executors ask of it once: whose pushes go to which slots of whom.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "collectives/schedule/schedule.h"

namespace weft::schedule {

struct Prepared {
  Schedule schedule;
  std::int32_t slot_lanes = 0;            // the most peers that push into one rank's slots
  std::vector<std::int16_t> slot_lane{};  // by owner and sender: which of the owner's; -1: none

  std::int16_t lane(int owner, int from) const {
    return slot_lane[static_cast<std::size_t>(owner * schedule.world.value() + from)];
  }
};

inline Prepared prepare(Schedule schedule) {
  const int n = schedule.world.value();
  Prepared made{std::move(schedule)};
  made.slot_lane.assign(static_cast<std::size_t>(n) * static_cast<std::size_t>(n), -1);
  std::vector<std::int16_t> senders(static_cast<std::size_t>(n), 0);
  for (int from = 0; from < n; ++from) {
    for (const Step& step : made.schedule.programs[static_cast<std::size_t>(from)]) {
      if (step.target != Target::slot) continue;
      const auto owner = static_cast<std::size_t>(step.to.value());
      auto& lane =
          made.slot_lane[owner * static_cast<std::size_t>(n) + static_cast<std::size_t>(from)];
      if (lane < 0) lane = senders[owner]++;
    }
  }
  made.slot_lanes = *std::max_element(senders.begin(), senders.end());
  return made;
}

}  // namespace weft::schedule
