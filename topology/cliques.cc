// Cliques. See search.h.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "topology/search.h"
#include "topology/weights.h"

namespace weft::topology {
namespace {

// Pairs that are looked at before the search gives up being complete. Real machines need one look
// at each pair or a few; made-up ones have up to 3^(n/3) cliques.
constexpr std::int64_t kMostWork = 10'000'000;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

// How near two devices are; 0 is nearest, kNowhere is not joined.
constexpr int kNowhere = 100;
int nearness(PathKind kind) {
  switch (kind) {
    case PathKind::nvlink:
    case PathKind::xgmi:
    case PathKind::c2c:
      return 0;
    case PathKind::pix:
      return 1;
    case PathKind::pxb:
      return 2;
    case PathKind::phb:
      return 3;
    case PathKind::node:
      return 4;
    case PathKind::sys:
      return 5;
    case PathKind::network:
      return 6;
    case PathKind::self:
    case PathKind::unknown:
      break;
  }
  return kNowhere;
}

class CliqueSearch {
 public:
  explicit CliqueSearch(const Topology& topology) : n_(topology.size()), joined_(at(n_ * n_)) {
    int nearest = kNowhere - 1;
    for (int a = 0; a < n_; ++a) {
      for (int b = 0; b < n_; ++b) {
        if (a != b) nearest = std::min(nearest, distance(topology, a, b));
      }
    }
    for (int a = 0; a < n_; ++a) {
      for (int b = 0; b < n_; ++b) {
        joined_[at(a * n_ + b)] = a != b && distance(topology, a, b) == nearest;
      }
    }
  }

  Cliques run() {
    std::vector<int> all;
    for (int i = 0; i < n_; ++i) all.push_back(i);
    if (n_ > 0) extend({}, std::move(all), {});
    if (!result_.complete) cover();
    std::sort(result_.cliques.begin(), result_.cliques.end());
    const auto end = std::unique(result_.cliques.begin(), result_.cliques.end());
    result_.cliques.erase(end, result_.cliques.end());
    return std::move(result_);
  }

 private:
  static int distance(const Topology& topology, int a, int b) {
    const Link& there = topology.link(a, b);
    const Link& back = topology.link(b, a);
    if (!usable(there) || !usable(back)) return kNowhere;
    if (!there.peer_access || !back.peer_access) return kNowhere;
    return std::max(nearness(there.kind), nearness(back.kind));
  }

  bool joined(int a, int b) const { return joined_[at(a * n_ + b)] != 0; }

  std::vector<int> neighbours(const std::vector<int>& among, int of) const {
    std::vector<int> found;
    std::copy_if(among.begin(), among.end(), std::back_inserter(found),
                 [&](int other) { return joined(of, other); });
    return found;
  }

  // The one with most neighbours among the candidates: the fewest branches.
  int pivot(const std::vector<int>& candidates, const std::vector<int>& done) {
    int best = -1;
    std::ptrdiff_t most = -1;
    const auto all = static_cast<std::ptrdiff_t>(candidates.size()) - 1;  // but itself
    for (const auto* group : {&candidates, &done}) {
      for (const int one : *group) {
        if (most >= all) return best;
        work_ += all + 1;
        const auto count = std::count_if(candidates.begin(), candidates.end(),
                                         [&](int other) { return joined(one, other); });
        if (count > most) {
          most = count;
          best = one;
        }
      }
    }
    return best;
  }

  void extend(std::vector<int> clique, std::vector<int> candidates, std::vector<int> done) {
    if (candidates.empty() && done.empty()) {
      std::sort(clique.begin(), clique.end());
      result_.cliques.push_back(std::move(clique));
      return;
    }
    if (work_ > kMostWork) {
      result_.complete = false;
      return;
    }
    const int apart = pivot(candidates, done);
    for (const int next : std::vector<int>(candidates)) {
      if (joined(apart, next)) continue;
      std::vector<int> larger = clique;
      larger.push_back(next);
      extend(std::move(larger), neighbours(candidates, next), neighbours(done, next));
      if (!result_.complete) return;
      candidates.erase(std::find(candidates.begin(), candidates.end(), next));
      done.push_back(next);
    }
  }

  // Instead of all: for every device one that it is in.
  void cover() {
    result_.cliques.clear();
    for (int first = 0; first < n_; ++first) {
      std::vector<int> clique{first};
      for (int other = 0; other < n_; ++other) {
        const bool fits = std::all_of(clique.begin(), clique.end(),
                                      [&](int member) { return joined(member, other); });
        if (fits) clique.push_back(other);
      }
      std::sort(clique.begin(), clique.end());
      result_.cliques.push_back(std::move(clique));
    }
  }

  int n_;
  std::vector<std::uint8_t> joined_;
  std::int64_t work_ = 0;
  Cliques result_;
};

}  // namespace

Cliques find_cliques(const Topology& topology) { return CliqueSearch(topology).run(); }

}  // namespace weft::topology
