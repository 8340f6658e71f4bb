// Trees and groups. See search.h.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <tuple>
#include <utility>

#include "topology/search.h"
#include "topology/weights.h"

namespace weft::topology {
namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

double both_ways(const Weights& weights, int a, int b) {
  return std::min(weights.rate(a, b), weights.rate(b, a));
}

// Latency, when the parent joined, how often the child is inside of other trees; child and parent.
using Adoption = std::tuple<std::int64_t, int, int, int, int>;

// The trees so far, and what the next may use.
class Grove {
 public:
  Grove(const Topology& topology, int children)
      : topology_(topology),
        n_(topology.size()),
        whole_(topology),
        left_(topology),
        inside_(at(n_)) {
    Tree any;
    const std::vector<double> rates = mutual_rates();
    const std::size_t best = best_rate(0, rates, rates.size(), &any);
    bound_ = best < rates.size() ? rates[best] : 0;
    children_ = children;
  }

  // The next tree; false if there is none.
  bool grow(std::vector<Tree>* trees) {
    std::vector<int> roots(at(n_));
    for (int i = 0; i < n_; ++i) roots[at(i)] = i;
    std::stable_sort(roots.begin(), roots.end(),
                     [&](int a, int b) { return inside_[at(a)] < inside_[at(b)]; });
    if (!trees->empty()) std::erase(roots, trees->back().root);
    if (trees->empty()) roots.resize(1);
    const std::vector<double> rates = mutual_rates();
    // Of the roots the first that does as well as any; a few are tried.
    constexpr std::size_t kRoots = 8;
    if (roots.size() > kRoots) roots.resize(kRoots);
    std::size_t best = rates.size();
    Tree found;
    for (const int root : roots) {
      const std::size_t reached = best_rate(root, rates, best, &found);
      best = std::min(best, reached);
    }
    if (best == rates.size() && n_ > 1) return false;
    if (n_ == 1) found = {0, {-1}, std::nullopt, true};
    finish(&found);
    trees->push_back(std::move(found));
    return true;
  }

 private:
  std::vector<double> mutual_rates() const {
    std::vector<double> rates;
    for (int a = 0; a < n_; ++a) {
      for (int b = a + 1; b < n_; ++b) rates.push_back(both_ways(left_, a, b));
    }
    std::sort(rates.begin(), rates.end(), std::greater<>());
    rates.erase(std::unique(rates.begin(), rates.end()), rates.end());
    if (!rates.empty() && rates.back() == 0) rates.pop_back();
    return rates;
  }

  // The first of the falling rates, before `end`, at which a tree from the root is found.
  std::size_t best_rate(int root, const std::vector<double>& rates, std::size_t end, Tree* tree) {
    std::size_t low = 0, high = end;
    bool first = true;
    while (low < high) {
      const std::size_t middle = first ? 0 : (low + high) / 2;
      first = false;
      if (fill(root, rates[middle], tree)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return high;
  }

  // Adopts the nearest device there is, again and again; `tree` changes only if all are reached.
  bool fill(int root, double least, Tree* tree) const {
    std::vector<int> parents(at(n_), -2);
    std::vector<int> children(at(n_));
    std::priority_queue<Adoption, std::vector<Adoption>, std::greater<>> open;
    int reached = 0;
    const auto join = [&](int device, int parent) {
      parents[at(device)] = parent;
      for (int to = 0; to < n_; ++to) {
        if (parents[at(to)] != -2 || both_ways(left_, device, to) < least) continue;
        open.push({left_.latency(device, to), reached, inside_[at(to)], to, device});
      }
      ++reached;
    };
    join(root, -1);
    while (!open.empty() && reached < n_) {
      const int child = std::get<3>(open.top());
      const int parent = std::get<4>(open.top());
      open.pop();
      if (parents[at(child)] != -2) continue;
      if (children_ > 0 && children[at(parent)] == children_) continue;
      ++children[at(parent)];
      join(child, parent);
    }
    if (reached != n_) return false;
    *tree = {root, std::move(parents), {}, false};
    return true;
  }

  void finish(Tree* tree) {
    double slowest = kUnlimitedRate;
    for (int child = 0; child < n_; ++child) {
      const int parent = tree->parents[at(child)];
      if (parent < 0) continue;
      ++inside_[at(parent)];
      const double rate = both_ways(whole_, parent, child);
      if (rate < slowest) {
        slowest = rate;
        const bool there = whole_.rate(parent, child) <= whole_.rate(child, parent);
        tree->bytes_per_second = there ? topology_.link(parent, child).bytes_per_second
                                       : topology_.link(child, parent).bytes_per_second;
      }
      left_.remove(parent, child);
    }
    tree->proven = slowest >= bound_;
  }

  const Topology& topology_;
  int n_;
  int children_ = 0;
  double bound_ = 0;  // no tree has a faster slowest link
  const Weights whole_;
  Weights left_;
  std::vector<int> inside_;  // by device: how many children it has in all trees
};

}  // namespace

std::vector<Tree> find_trees(const Topology& topology, int k, int children) {
  std::vector<Tree> trees;
  if (topology.size() == 0) return trees;
  Grove grove(topology, children);
  const int most = topology.size() == 1 ? std::min(k, 1) : k;
  while (static_cast<int>(trees.size()) < most && grove.grow(&trees)) {
  }
  return trees;
}

std::vector<std::vector<int>> find_groups(const Topology& topology, std::span<const int> devices) {
  const auto rate = [&](int a, int b) {
    return a == b ? kUnlimitedRate : topology.link(a, b).bytes_per_second.value_or(0.0);
  };
  double fastest = 0;
  for (const int a : devices) {
    for (const int b : devices) {
      if (a != b) fastest = std::max(fastest, rate(a, b));
    }
  }
  std::vector<bool> grouped(devices.size());
  std::vector<std::vector<int>> groups;
  for (std::size_t first = 0; first < devices.size(); ++first) {
    if (grouped[first]) continue;
    std::vector<std::size_t> members{first};
    grouped[first] = true;
    for (std::size_t next = 0; next < members.size(); ++next) {
      for (std::size_t other = 0; other < devices.size(); ++other) {
        if (grouped[other]) continue;
        if (rate(devices[members[next]], devices[other]) < kAlike * fastest) continue;
        grouped[other] = true;
        members.push_back(other);
      }
    }
    std::sort(members.begin(), members.end());
    std::vector<int>& group = groups.emplace_back();
    for (const std::size_t member : members) group.push_back(devices[member]);
  }
  return groups;
}

}  // namespace weft::topology
