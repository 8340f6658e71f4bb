#include "fabric/graph.h"

#include <algorithm>

namespace weft::fabric {

Graph::~Graph() {
  if (home_.left()) return;
  for (std::size_t r = 0; r < graphs_.size(); ++r) devices_[r]->destroy_graph(graphs_[r]);
  for (const std::vector<Event>* events : {&edges_, &starts_, &ends_}) {
    for (std::size_t r = 0; r < events->size(); ++r) devices_[r]->destroy_event((*events)[r]);
  }
}

std::optional<double> Graph::elapsed_us() const {
  if (starts_.empty()) return std::nullopt;
  double longest = 0;
  for (std::size_t r = 0; r < starts_.size(); ++r) {
    longest = std::max(longest, devices_[r]->elapsed_us(starts_[r], ends_[r]));
  }
  return longest;
}

}  // namespace weft::fabric
