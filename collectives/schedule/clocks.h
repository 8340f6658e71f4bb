// Vector clocks for the verifier: which events of which ranks are known to have happened.
//
// A rank's own events are counted apart from what it knows of others, and what it knows is shared
// with the messages it sends until it learns more: so many messages in a row cost one clock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

namespace weft::schedule {

// The index-th event of a rank, from 1 on; 0 is before the start. No rank: before everything.
struct Event {
  int rank = -1;
  int index = 0;
};

using Clock = std::vector<int>;

// All that happened before an event, and the event itself.
struct Stamp {
  Event event{};
  std::shared_ptr<const Clock> before{};
};

class RankClock {
 public:
  RankClock(int rank, int ranks)
      : rank_(rank), known_(std::make_shared<Clock>(static_cast<std::size_t>(ranks), 0)) {}

  // The rank's next event begins.
  Event tick() { return {rank_, ++index_}; }
  int index() const { return index_; }
  Stamp stamp() const { return {{rank_, index_}, known_}; }

  bool knows(const Event& event) const {
    if (event.rank < 0) return true;
    if (event.rank == rank_) return event.index <= index_;
    return (*known_)[static_cast<std::size_t>(event.rank)] >= event.index;
  }
  void learn(const Stamp& stamp) {
    // Who knows an event knows all that happened before it.
    if (knows(stamp.event)) return;
    if (known_.use_count() > 1) known_ = std::make_shared<Clock>(*known_);
    Clock& own = *known_;
    const Clock& other = *stamp.before;
    for (std::size_t i = 0; i < own.size(); ++i) own[i] = std::max(own[i], other[i]);
    own[static_cast<std::size_t>(stamp.event.rank)] = stamp.event.index;
  }

 private:
  int rank_;
  int index_ = 0;
  std::shared_ptr<Clock> known_;  // of the others
};

}  // namespace weft::schedule
