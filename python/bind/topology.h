// Topologies as dicts of schema weft.topology/1, which Python writes as JSON and reads again.
#pragma once

#include "python/bind/bind.h"
#include "topology/topology.h"

namespace weft::python {

// The whole topology; every field is always there. Numbers are numbers, unknown is None.
nb::dict document_of(const topology::Topology& topology, bool derived);

// What document_of() gives, made again. "cell", "matrix" and "cliques" follow from the rest and are
// not read; links of a document without any, and devices too, are worked out from its vertices and
// wires. Throws TopologyError that begins with the place in the document ("links[3].count: ...")
// for everything that is not as the schema says.
topology::Topology topology_of(const nb::dict& document);

// rings(), trees(), cliques(), groups() and predict() of the class.
void bind_topology_search(nb::class_<topology::Topology>& type);

}  // namespace weft::python
