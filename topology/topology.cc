// The value type. See topology.h.
#include "topology/topology.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/base/error.h"
#include "topology/paths.h"

namespace weft::topology {
namespace {

std::string path_name(const Link& link) {
  switch (link.kind) {
    case PathKind::self:
      return "X";
    case PathKind::nvlink:
      return concat("NV", link.count);
    case PathKind::pix:
      return "PIX";
    case PathKind::pxb:
      return "PXB";
    case PathKind::phb:
      return "PHB";
    case PathKind::node:
      return "NODE";
    case PathKind::sys:
      return "SYS";
    case PathKind::xgmi:
      return concat("XGMI", link.count);
    case PathKind::c2c:
      return "C2C";
    case PathKind::network:
      return "NET";
    case PathKind::unknown:
      break;
  }
  return "?";
}

constexpr std::array<std::string_view, 11> kPathNames = {
    "self", "nvlink", "pix", "pxb", "phb", "node", "sys", "unknown", "xgmi", "c2c", "network"};

void check_measurement(const Measurement& one, int devices) {
  const auto bad = [&](const auto&... what) {
    fail(ErrorCode::topology, "a measurement of ", one.what, " from ", one.from, " to ", one.to,
         " cannot be: ", what...);
  };
  for (const int end : {one.from, one.to}) {
    if (end < kHostMemory || end >= devices) bad("there are ", devices, " devices");
  }
  if (!(std::isfinite(one.median) && one.median > 0)) bad("its median is ", one.median);
  if (!(std::isfinite(one.spread) && one.spread >= 0)) bad("its spread is ", one.spread);
  if (one.bytes < 0 || one.samples < 1) bad("its bytes or samples are below what is possible");
}

// What a pair's measurements say of its link.
struct Calibration {
  std::optional<double> one_way, both_ways, latency;

  const std::optional<double>& rate() const { return both_ways ? both_ways : one_way; }

  void add(const Measurement& one) {
    const auto keep = [&](std::optional<double>* best, bool better) {
      if (!*best || better) *best = one.median;
    };
    if (one.what == "bandwidth" && one.both_directions) {
      keep(&both_ways, one.median > both_ways.value_or(0));
    } else if (one.what == "bandwidth") {
      keep(&one_way, one.median > one_way.value_or(0));
    } else if (one.what == "latency") {
      keep(&latency, one.median < latency.value_or(0));
    }
  }
};

}  // namespace

std::string_view kind_name(PathKind kind) { return kPathNames[static_cast<std::size_t>(kind)]; }

std::optional<PathKind> path_kind(std::string_view name) {
  const auto found = std::find(kPathNames.begin(), kPathNames.end(), name);
  if (found == kPathNames.end()) return std::nullopt;
  return static_cast<PathKind>(found - kPathNames.begin());
}

SharedPort shared_port(const Link& link) {
  if (link.via == Via::direct) return SharedPort::none;
  switch (link.kind) {
    case PathKind::nvlink:
      return link.via ? SharedPort::nvswitch : SharedPort::none;
    case PathKind::pix:
    case PathKind::pxb:
    case PathKind::phb:
    case PathKind::node:
    case PathKind::sys:
    case PathKind::c2c:
      return SharedPort::host;
    case PathKind::network:
      return SharedPort::network;
    case PathKind::self:
    case PathKind::unknown:
    case PathKind::xgmi:
      break;
  }
  return SharedPort::none;
}

Topology::Topology(std::string name, std::vector<Node> nodes, std::vector<Link> links)
    : name_(std::move(name)), nodes_(std::move(nodes)), links_(std::move(links)) {
  if (links_.size() != nodes_.size() * nodes_.size()) {
    fail(ErrorCode::invalid_argument, "topology ", name_, " has ", links_.size(), " links for ",
         nodes_.size(), " devices; it needs one for each ordered pair");
  }
}

Topology Topology::from_graph(std::string name, Graph graph, DeviceKind kind) {
  graph.validate();
  std::vector<Node> nodes;
  for (const int gpu : graph.gpus()) {
    const Vertex& vertex = graph.vertices[static_cast<std::size_t>(gpu)];
    const auto ordinal = DeviceOrdinal(static_cast<std::int32_t>(nodes.size()));
    nodes.push_back({DeviceId{kind, ordinal}, vertex.name, vertex.numa, vertex.pci});
  }
  std::vector<Link> links = find_paths(graph);
  Topology topology =
      of_graph(std::move(name), std::move(nodes), std::move(links), std::move(graph));
  topology.set_simulated(kind == DeviceKind::sim);
  return topology;
}

Topology Topology::of_graph(std::string name, std::vector<Node> nodes, std::vector<Link> links,
                            Graph graph) {
  graph.validate();
  if (const std::size_t gpus = graph.gpus().size(); gpus != nodes.size()) {
    fail(ErrorCode::topology, "topology ", name, " has ", nodes.size(),
         " devices, and its graph has ", gpus, " GPUs");
  }
  Topology topology(std::move(name), std::move(nodes), std::move(links));
  topology.graph_ = std::move(graph);
  return topology;
}

bool Topology::links_follow_from_graph() const { return graph_ && links_ == find_paths(*graph_); }

Topology Topology::with_measurements(std::vector<Measurement> measured) const {
  Topology copy = *this;
  const auto n = static_cast<std::size_t>(size());
  std::vector<Calibration> found(n * n);
  for (Measurement& one : measured) {
    check_measurement(one, size());
    if (one.from != kHostMemory && one.to != kHostMemory) {
      found[static_cast<std::size_t>(one.from) * n + static_cast<std::size_t>(one.to)].add(one);
    }
    copy.measurements_.push_back(std::move(one));
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    Link& link = copy.links_[i];
    if (link.kind == PathKind::self) continue;
    if (const auto& rate = found[i].rate()) link.bytes_per_second = rate;
    if (found[i].latency) link.latency_seconds = found[i].latency;
    if (link.bytes_per_second && link.latency_seconds && link.verified.value_or(true)) {
      link.reason.clear();
    }
  }
  return copy;
}

Topology Topology::with_engines(std::span<const std::string_view> engines) const {
  Topology copy = *this;
  const auto n = static_cast<std::size_t>(size());
  std::vector<double> seconds(n * n);  // of a byte by each engine
  for (const std::string_view engine : engines) {
    std::vector<Calibration> found(n * n);
    for (const Measurement& one : measurements_) {
      if (one.engine != engine || one.from == kHostMemory || one.to == kHostMemory) continue;
      found[static_cast<std::size_t>(one.from) * n + static_cast<std::size_t>(one.to)].add(one);
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
      seconds[i] += found[i].rate() ? 1 / *found[i].rate() : std::nan("");
    }
  }
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    if (std::isnan(seconds[i]) || seconds[i] == 0) continue;
    copy.links_[i].bytes_per_second = static_cast<double>(engines.size()) / seconds[i];
  }
  return copy;
}

void Topology::set_measurements(std::vector<Measurement> measured) {
  for (const Measurement& one : measured) check_measurement(one, size());
  measurements_ = std::move(measured);
}

double Topology::transfer_seconds(int from, int to, std::int64_t bytes) const {
  if (from < 0 || from >= size() || to < 0 || to >= size()) {
    fail(ErrorCode::invalid_argument, "no link from device ", from, " to ", to, ": topology ",
         name_, " has ", size(), " devices");
  }
  const Link& way = link(from, to);
  if (!way.bytes_per_second) {
    fail(ErrorCode::topology, "no rate is known for the path from device ", from, " to ", to,
         " of topology ", name_);
  }
  return way.latency_seconds.value_or(0.0) + static_cast<double>(bytes) / *way.bytes_per_second;
}

std::string Topology::cell(int from, int to) const { return path_name(link(from, to)); }

std::vector<std::vector<std::string>> Topology::matrix() const {
  std::vector<std::vector<std::string>> rows;
  for (int from = 0; from < size(); ++from) {
    std::vector<std::string>& row = rows.emplace_back();
    for (int to = 0; to < size(); ++to) row.push_back(cell(from, to));
  }
  return rows;
}

}  // namespace weft::topology
