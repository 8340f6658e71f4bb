// Topologies as documents. See topology.h.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include "python/bind/topology.h"
#include "topology/search.h"

namespace weft::python {
namespace {

using topology::Graph;
using topology::Link;
using topology::Measurement;
using topology::Node;
using topology::Topology;
using topology::Vertex;
using topology::Via;
using topology::Wire;

template <class T>
nb::object known(const std::optional<T>& value) {
  return value ? nb::cast(*value) : nb::none();
}

nb::object host_of(const Topology& topology) {
  if (!topology.host) return nb::none();
  nb::list numa_nodes;
  for (const topology::NumaNode& node : topology.host->numa_nodes) {
    nb::dict row;
    row["id"] = node.id;
    row["cpus"] = node.cpus;
    numa_nodes.append(row);
  }
  nb::dict host;
  host["cpu"] = known(topology.host->cpu);
  host["numa_nodes"] = numa_nodes;
  host["iommu"] = known(topology.host->iommu);
  host["driver"] = known(topology.host->driver);
  host["cuda"] = known(topology.host->cuda);
  return host;
}

nb::list devices_of(const Topology& topology) {
  nb::list devices;
  for (int i = 0; i < topology.size(); ++i) {
    const Node& node = topology.node(i);
    nb::dict row;
    row["device"] = node.device.str();
    row["name"] = node.name;
    row["numa"] = known(node.numa);
    row["pci"] = known(node.pci);
    row["uuid"] = known(node.uuid);
    devices.append(row);
  }
  return devices;
}

nb::dict link_of(const Topology& topology, int from, int to) {
  const Link& link = topology.link(from, to);
  nb::dict row;
  row["from"] = from;
  row["to"] = to;
  row["kind"] = kind_name(link.kind);
  row["cell"] = topology.cell(from, to);
  row["count"] = link.count;
  row["via"] = link.via ? nb::cast(*link.via == Via::direct ? "direct" : "switch") : nb::none();
  row["peer_access"] = link.peer_access;
  row["verified"] = known(link.verified);
  row["bytes_per_second"] = known(link.bytes_per_second);
  row["latency_seconds"] = known(link.latency_seconds);
  row["reason"] = link.reason.empty() ? nb::none() : nb::cast(link.reason);
  return row;
}

nb::list vertices_of(const Graph& graph) {
  nb::list vertices;
  for (const Vertex& vertex : graph.vertices) {
    nb::dict attributes;
    for (const auto& [key, value] : vertex.attributes) attributes[key.c_str()] = value;
    nb::dict row;
    row["id"] = vertex.id;
    row["kind"] = kind_name(vertex.kind);
    row["name"] = vertex.name;
    row["numa"] = known(vertex.numa);
    row["pci"] = known(vertex.pci);
    row["attributes"] = attributes;
    vertices.append(row);
  }
  return vertices;
}

nb::list wires_of(const Graph& graph) {
  nb::list wires;
  for (const Wire& wire : graph.wires) {
    nb::dict row;
    row["a"] = graph.vertices[static_cast<std::size_t>(wire.a)].id;
    row["b"] = graph.vertices[static_cast<std::size_t>(wire.b)].id;
    row["kind"] = kind_name(wire.kind);
    row["count"] = wire.count;
    row["generation"] = known(wire.generation);
    row["width"] = known(wire.width);
    row["bytes_per_second"] = known(wire.bytes_per_second);
    row["latency_seconds"] = known(wire.latency_seconds);
    wires.append(row);
  }
  return wires;
}

nb::list measurements_of(const Topology& topology) {
  const auto end = [](int index) {
    return index == topology::kHostMemory ? nb::none() : nb::cast(index);
  };
  nb::list measurements;
  for (const Measurement& one : topology.measurements()) {
    nb::dict row;
    row["from"] = end(one.from);
    row["to"] = end(one.to);
    row["what"] = one.what;
    row["engine"] = one.engine;
    row["both_directions"] = one.both_directions;
    row["bytes"] = one.bytes;
    row["median"] = one.median;
    row["spread"] = one.spread;
    row["samples"] = one.samples;
    measurements.append(row);
  }
  return measurements;
}

}  // namespace

nb::dict document_of(const Topology& topology, bool derived) {
  const bool listed = derived || !topology.links_follow_from_graph();
  nb::list links;
  for (int from = 0; listed && from < topology.size(); ++from) {
    for (int to = 0; to < topology.size(); ++to) {
      if (from != to) links.append(link_of(topology, from, to));
    }
  }
  const Graph& graph = topology.graph() ? *topology.graph() : Graph{};
  nb::dict document;
  document["schema"] = "weft.topology/1";
  document["name"] = topology.name();
  document["simulated"] = topology.simulated();
  document["host"] = host_of(topology);
  document["devices"] = devices_of(topology);
  document["links"] = links;
  document["vertices"] = vertices_of(graph);
  document["wires"] = wires_of(graph);
  document["measurements"] = measurements_of(topology);
  document["cliques"] = nb::cast(topology::find_cliques(topology).cliques);
  document["matrix"] = listed ? nb::cast(topology.matrix()) : nb::list();
  document["notes"] = nb::cast(topology.notes);
  return document;
}

}  // namespace weft::python
