// The value type. See topology.h; JSON is in json.cc.
#include "topology/topology.h"

#include <utility>

#include "core/base/error.h"

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
    case PathKind::unknown:
      break;
  }
  return "?";
}

}  // namespace

Topology::Topology(std::string name, std::vector<Node> nodes, std::vector<Link> links)
    : name_(std::move(name)), nodes_(std::move(nodes)), links_(std::move(links)) {
  if (links_.size() != nodes_.size() * nodes_.size()) {
    fail(ErrorCode::invalid_argument, "topology ", name_, " has ", links_.size(), " links for ",
         nodes_.size(), " devices; it needs one for each ordered pair");
  }
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
