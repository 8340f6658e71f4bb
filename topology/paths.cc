// The walk over the graph. See paths.h for the rules.
#include "topology/paths.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

namespace weft::topology {
namespace {

using Figure = std::optional<double>;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// What is not known stays so in every sum and minimum.
Figure sum(Figure a, Figure b) { return a && b ? Figure(*a + *b) : std::nullopt; }
Figure least(Figure a, Figure b) { return a && b ? Figure(std::min(*a, *b)) : std::nullopt; }

struct Edge {
  int to = 0;
  int wire = 0;
};
using Edges = std::vector<std::vector<Edge>>;  // by vertex

// Links of one pair, side by side.
struct Bundle {
  std::int32_t count = 0;
  Figure rate = 0.0;
  Figure latency = kUnlimited;
  void add(std::int32_t links, Figure bytes_per_second, Figure seconds) {
    count += links;
    rate = sum(rate, bytes_per_second);
    latency = least(latency, seconds);
  }
};

// Ways through NVSwitches.
class Fabrics {
 public:
  explicit Fabrics(const Graph& graph)
      : graph_(graph), edges_(graph.vertices.size()), fabric_of_(graph.vertices.size(), -1) {
    for (std::size_t i = 0; i < graph.wires.size(); ++i) {
      const Wire& wire = graph.wires[i];
      if (wire.kind != WireKind::nvlink) continue;
      if (is_switch(wire.b)) edges_[at(wire.a)].push_back({wire.b, static_cast<int>(i)});
      if (is_switch(wire.a)) edges_[at(wire.b)].push_back({wire.a, static_cast<int>(i)});
    }
    int fabrics = 0;
    for (std::size_t i = 0; i < graph.vertices.size(); ++i) {
      if (is_switch(static_cast<int>(i)) && fabric_of_[i] < 0) {
        mark(static_cast<int>(i), fabrics++);
      }
    }
    into_.resize(at(fabrics));
    // Fabrics side by side.
    for (auto& edges : edges_) {
      std::stable_sort(edges.begin(), edges.end(), [&](const Edge& a, const Edge& b) {
        return fabric_of_[at(a.to)] < fabric_of_[at(b.to)];
      });
    }
  }

  // Looks at every switch from this GPU: join() is about it from now on.
  void start_at(int gpu) {
    reach_.assign(graph_.vertices.size(), Reach{});
    std::fill(into_.begin(), into_.end(), Bundle{});
    std::queue<int> open;
    for (const Edge& edge : edges_[at(gpu)]) {
      const Wire& wire = graph_.wires[at(edge.wire)];
      into_[at(fabric_of_[at(edge.to)])].add(wire.count, wire.bytes_per_second, {});
      visit(edge.to, {0, kUnlimited, wire.latency_seconds}, open);
    }
    while (!open.empty()) {
      const int from = open.front();
      open.pop();
      const Reach here = reach_[at(from)];
      for (const Edge& edge : edges_[at(from)]) {
        const Wire& wire = graph_.wires[at(edge.wire)];
        visit(edge.to,
              {here.hops + 1, least(here.width, wire.bytes_per_second),
               sum(here.latency, wire.latency_seconds)},
              open);
      }
    }
  }

  // Adds the ways from that GPU to this one.
  void join(int gpu, Bundle* links) const {
    const std::vector<Edge>& edges = edges_[at(gpu)];
    for (std::size_t i = 0; i < edges.size();) {
      const int fabric = fabric_of_[at(edges[i].to)];
      Bundle own;
      Reach best;
      for (; i < edges.size() && fabric_of_[at(edges[i].to)] == fabric; ++i) {
        const Wire& wire = graph_.wires[at(edges[i].wire)];
        const Reach& far = reach_[at(edges[i].to)];
        if (far.hops < 0) continue;
        own.add(wire.count, wire.bytes_per_second, {});
        const Reach here{far.hops, far.width, sum(far.latency, wire.latency_seconds)};
        if (here.better_than(best)) best = here;
      }
      const Bundle& other = into_[at(fabric)];
      if (best.hops < 0 || other.count == 0) continue;
      links->add(std::min(own.count, other.count), least(best.width, least(own.rate, other.rate)),
                 best.latency);
    }
  }

 private:
  // Of a switch, seen from the GPU in hand.
  struct Reach {
    int hops = -1;
    Figure width = 0.0;
    Figure latency{};
    bool better_than(const Reach& other) const {
      if (other.hops < 0) return true;
      return std::tuple(-hops, width.value_or(0), -latency.value_or(kUnlimited)) >
             std::tuple(-other.hops, other.width.value_or(0), -other.latency.value_or(kUnlimited));
    }
  };

  bool is_switch(int vertex) const {
    return graph_.vertices[at(vertex)].kind == VertexKind::nvswitch;
  }

  void mark(int first, int fabric) {
    std::vector<int> open{first};
    fabric_of_[at(first)] = fabric;
    while (!open.empty()) {
      const int from = open.back();
      open.pop_back();
      for (const Edge& edge : edges_[at(from)]) {
        if (fabric_of_[at(edge.to)] >= 0) continue;
        fabric_of_[at(edge.to)] = fabric;
        open.push_back(edge.to);
      }
    }
  }

  void visit(int vertex, const Reach& reach, std::queue<int>& open) {
    Reach& known = reach_[at(vertex)];
    if (known.hops < 0) open.push(vertex);
    if (reach.better_than(known)) known = reach;
  }

  const Graph& graph_;
  Edges edges_;  // to switches
  std::vector<int> fabric_of_;
  std::vector<Reach> reach_;
  std::vector<Bundle> into_;  // by fabric: the links of the GPU in hand
};

// Ways over PCIe, cpus and the network.
class Walks {
 public:
  explicit Walks(const Graph& graph) : graph_(graph), edges_(graph.vertices.size()) {
    for (std::size_t i = 0; i < graph.wires.size(); ++i) {
      const Wire& wire = graph.wires[i];
      if (!graph.walkable(wire)) continue;
      edges_[at(wire.a)].push_back({wire.b, static_cast<int>(i), cost_of(wire, wire.b)});
      edges_[at(wire.b)].push_back({wire.a, static_cast<int>(i), cost_of(wire, wire.a)});
    }
  }

  // Walks from this GPU to everything: link_to() is about it from now on.
  void start_at(int gpu) {
    walks_.assign(graph_.vertices.size(), Walk{});
    std::priority_queue<Open, std::vector<Open>, std::greater<>> open;
    walks_[at(gpu)] = {0, kUnlimited, 0.0, 0, 0, 0, false, true, false};
    open.push({0, -kUnlimited, gpu});
    while (!open.empty()) {
      const auto [cost, narrowness, vertex] = open.top();
      open.pop();
      const Walk walk = walks_[at(vertex)];
      if (walk.cost != cost || -walk.width.value_or(0) != narrowness) continue;
      for (const Step& edge : edges_[at(vertex)]) {
        Walk& known = walks_[at(edge.to)];
        // Nearly all edges of a large graph end here, so that this comes first.
        if (walk.cost + edge.cost > known.cost) continue;
        if (vertex != gpu && !leads_on(vertex, walk, edge)) continue;
        const Walk next = step(walk, edge);
        if (std::pair(next.cost, -next.width.value_or(0)) >=
            std::pair(known.cost, -known.width.value_or(0))) {
          continue;
        }
        known = next;
        open.push({next.cost, -next.width.value_or(0), edge.to});
      }
    }
  }

  Link link_to(int gpu) const {
    const Walk& walk = walks_[at(gpu)];
    Link link;
    if (walk.cost == kFar) {
      link.reason = "the graph has no way between them";
      return link;
    }
    link.kind = kind_of(walk);
    link.count = link.kind == PathKind::c2c ? 1 : 0;
    link.peer_access = link.kind != PathKind::network;
    link.bytes_per_second = walk.width;
    link.latency_seconds = walk.latency;
    if (link.kind == PathKind::pix || link.kind == PathKind::pxb) {
      link.via = walk.switches > 0 ? Via::through_switch : Via::direct;
    }
    return link;
  }

 private:
  static constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();

  struct Walk {
    std::int64_t cost = kFar;
    Figure width = 0.0;
    Figure latency{};
    int switches = 0, bridges = 0, cpus = 0;
    bool network = false;       // did it leave the machine?
    bool c2c = false;           // are all its wires C2C?
    bool over_network = false;  // was the last wire one of the network?
  };
  using Open = std::tuple<std::int64_t, double, int>;  // cost, -width, vertex
  struct Step {
    int to = 0;
    int wire = 0;
    std::int64_t cost = 0;
  };

  // Whether a walk that has come to a vertex may go on over that edge.
  bool leads_on(int vertex, const Walk& walk, const Step& edge) const {
    const VertexKind kind = graph_.vertices[at(vertex)].kind;
    if (kind == VertexKind::gpu || kind == VertexKind::nvswitch) return false;
    if (kind != VertexKind::nic) return true;
    // A NIC joins its machine and the network; it is no switch of either.
    return walk.over_network != (graph_.wires[at(edge.wire)].kind == WireKind::network);
  }

  // Of going over the wire to that vertex: digits of one number, since no way has 2^16 of anything.
  std::int64_t cost_of(const Wire& wire, int to) const {
    const VertexKind kind = graph_.vertices[at(to)].kind;
    std::int64_t cost = 1;
    if (kind == VertexKind::cpu || kind == VertexKind::host_bridge) cost += std::int64_t{1} << 16;
    if (wire.kind == WireKind::socket) cost += std::int64_t{1} << 32;
    if (wire.kind == WireKind::network) cost += std::int64_t{1} << 48;
    return cost;
  }

  Walk step(const Walk& walk, const Step& edge) const {
    const Wire& wire = graph_.wires[at(edge.wire)];
    const VertexKind kind = graph_.vertices[at(edge.to)].kind;
    Walk next = walk;
    next.cost += edge.cost;
    next.over_network = wire.kind == WireKind::network;
    next.switches += kind == VertexKind::pcie_switch ? 1 : 0;
    next.bridges += kind == VertexKind::host_bridge ? 1 : 0;
    next.cpus += kind == VertexKind::cpu ? 1 : 0;
    next.network = walk.network || next.over_network;
    next.c2c = walk.c2c && wire.kind == WireKind::c2c;
    next.width = least(walk.width, wire.bytes_per_second);
    next.latency = sum(walk.latency, wire.latency_seconds);
    return next;
  }

  static PathKind kind_of(const Walk& walk) {
    if (walk.network) return PathKind::network;
    if (walk.cpus > 1) return PathKind::sys;
    if (walk.cpus == 1 && walk.bridges == 0) return walk.c2c ? PathKind::c2c : PathKind::phb;
    if (walk.cpus == 1 || walk.bridges > 1) return PathKind::node;
    if (walk.bridges == 1) return PathKind::phb;
    return walk.switches > 1 ? PathKind::pxb : PathKind::pix;
  }

  const Graph& graph_;
  std::vector<std::vector<Step>> edges_;  // by vertex
  std::vector<Walk> walks_;
};

// Wires that a GPU shares with others, by kind.
struct Shared {
  Bundle nvlink, xgmi, c2c;
};

Link bundle_link(PathKind kind, const Bundle& bundle, Via via) {
  Link link;
  link.kind = kind;
  link.count = bundle.count;
  link.via = via;
  link.peer_access = true;
  link.bytes_per_second = bundle.rate;
  link.latency_seconds = bundle.latency;
  return link;
}

// Direct wires of a GPU by the other's vertex.
std::vector<Shared> shared_wires(const Graph& graph, int gpu, const std::vector<int>& wires) {
  std::vector<Shared> shared(graph.vertices.size());
  for (const int number : wires) {
    const Wire& wire = graph.wires[at(number)];
    Shared& with = shared[at(wire.a == gpu ? wire.b : wire.a)];
    const auto add = [&](Bundle& bundle) {
      bundle.add(wire.count, wire.bytes_per_second, wire.latency_seconds);
    };
    if (wire.kind == WireKind::nvlink) add(with.nvlink);
    if (wire.kind == WireKind::xgmi) add(with.xgmi);
    if (wire.kind == WireKind::c2c) add(with.c2c);
  }
  return shared;
}

void explain(Link* link) {
  if (link->kind == PathKind::unknown) return;
  if (!link->bytes_per_second) link->reason = "the rate of a wire on the way is not known";
  if (!link->latency_seconds) {
    link->reason = link->bytes_per_second
                       ? "the latency of a wire on the way is not known"
                       : "the rate and the latency of a wire on the way are not known";
  }
}

}  // namespace

std::vector<Link> find_paths(const Graph& graph) {
  const std::vector<int> gpus = graph.gpus();
  const std::size_t n = gpus.size();
  std::vector<Link> links(n * n);
  std::vector<std::vector<int>> wires_of(graph.vertices.size());
  for (std::size_t i = 0; i < graph.wires.size(); ++i) {
    wires_of[at(graph.wires[i].a)].push_back(static_cast<int>(i));
    wires_of[at(graph.wires[i].b)].push_back(static_cast<int>(i));
  }
  Fabrics fabrics(graph);
  Walks walks(graph);
  for (std::size_t from = 0; from < n; ++from) {
    const auto shared = shared_wires(graph, gpus[from], wires_of[at(gpus[from])]);
    fabrics.start_at(gpus[from]);
    bool walked = false;
    links[from * n + from].kind = PathKind::self;
    links[from * n + from].peer_access = true;
    for (std::size_t to = from + 1; to < n; ++to) {
      const Shared& direct = shared[at(gpus[to])];
      Bundle nvlink = direct.nvlink;
      fabrics.join(gpus[to], &nvlink);
      Link& link = links[from * n + to];
      if (nvlink.count > 0) {
        const bool all_direct = nvlink.count == direct.nvlink.count;
        link =
            bundle_link(PathKind::nvlink, nvlink, all_direct ? Via::direct : Via::through_switch);
      } else if (direct.xgmi.count > 0) {
        link = bundle_link(PathKind::xgmi, direct.xgmi, Via::direct);
      } else if (direct.c2c.count > 0) {
        link = bundle_link(PathKind::c2c, direct.c2c, Via::direct);
      } else {
        if (!walked) walks.start_at(gpus[from]);
        walked = true;
        link = walks.link_to(gpus[to]);
      }
      explain(&link);
      links[to * n + from] = link;
    }
  }
  return links;
}

}  // namespace weft::topology
