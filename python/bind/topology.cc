// Topologies: plain values out of the native library.
#include "python/bind/topology.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/bind/bind.h"

namespace weft::python {
namespace {

using topology::Node;
using topology::Topology;

nb::list nodes_of(const Topology& topology) {
  nb::list nodes;
  for (int i = 0; i < topology.size(); ++i) {
    const Node& node = topology.node(i);
    nb::dict row;
    row["device"] = node.device.str();
    row["name"] = node.name;
    row["numa"] = node.numa ? nb::cast(*node.numa) : nb::none();
    row["pci"] = node.pci ? nb::cast(*node.pci) : nb::none();
    row["uuid"] = node.uuid ? nb::cast(*node.uuid) : nb::none();
    nodes.append(row);
  }
  return nodes;
}

std::vector<std::vector<bool>> peer_access_of(const Topology& topology) {
  std::vector<std::vector<bool>> rows;
  for (int i = 0; i < topology.size(); ++i) {
    std::vector<bool> row;
    for (int j = 0; j < topology.size(); ++j) {
      row.push_back(i == j || topology.link(i, j).peer_access);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

void bind_topology(nb::module_& module) {
  nb::class_<Topology> type(module, "Topology", "What is known of a machine: devices and links.");
  type.def_prop_ro("name", &Topology::name)
      .def_prop_ro("size", &Topology::size)
      .def_prop_ro("simulated", &Topology::simulated)
      .def_prop_ro("notes", [](const Topology& t) { return t.notes; })
      .def("matrix", &Topology::matrix, "Rows of \"X\", \"NV18\", \"PIX\", ..., \"SYS\".")
      .def("document", document_of, nb::arg("derived") = true,
           "The whole as a dict of schema weft.topology/1. Without `derived` links and matrix are "
           "empty where they follow from vertices and wires.")
      .def("nodes", nodes_of, "A dict a device: device, name, numa, pci, uuid; None if not known.")
      .def("peer_access", peer_access_of, "size x size booleans.");
  bind_topology_search(type);
  module.def("topology_from_document", topology_of, nb::arg("document"),
             "What document() gave. Raises TopologyError that says where it is not as it must be.");
  module.def(
      "topology_preset",
      [](const std::string& name, int devices) { return topology::preset(name, devices); },
      nb::arg("name"), nb::arg("devices"),
      "A known machine. Raises InvalidArgument that lists what there is.");
  module.def(
      "topology_preset_size", [](const std::string& name) { return topology::preset_size(name); },
      nb::arg("name"), "How many devices that machine has. Raises as topology_preset does.");
  module.def(
      "topology_cluster",
      [](const std::string& name, int machines) {
        return topology::preset_cluster(name, machines);
      },
      nb::arg("name"), nb::arg("machines"),
      "Several of a machine on a made-up network. Raises InvalidArgument.");
  module.def("topology_presets", &topology::preset_names);
}

}  // namespace weft::python
