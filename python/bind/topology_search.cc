// Searches over topologies, and predictions for them.
//
// Invariant: the GIL is released while they run; a topology never changes.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <numeric>
#include <string>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/forecast.h"
#include "python/bind/topology.h"
#include "topology/search.h"

namespace weft::python {
namespace {

using topology::Topology;

nb::list rings_of(const Topology& topology, int k) {
  std::vector<topology::Ring> rings;
  {
    const nb::gil_scoped_release released;
    rings = topology::find_rings(topology, k);
  }
  nb::list rows;
  for (const topology::Ring& ring : rings) {
    nb::dict row;
    row["devices"] = nb::cast(ring.devices);
    row["bytes_per_second"] = nb::cast(ring.bytes_per_second);
    row["bytes_per_second_together"] = nb::cast(ring.bytes_per_second_together);
    row["latency_seconds"] = ring.latency_seconds;
    row["bottleneck"] =
        ring.bottleneck.first < 0
            ? nb::none()
            : nb::object(nb::make_tuple(ring.bottleneck.first, ring.bottleneck.second));
    row["proven"] = ring.proven;
    rows.append(row);
  }
  return rows;
}

nb::list trees_of(const Topology& topology, int k, int children) {
  std::vector<topology::Tree> trees;
  {
    const nb::gil_scoped_release released;
    trees = topology::find_trees(topology, k, children);
  }
  nb::list rows;
  for (const topology::Tree& tree : trees) {
    nb::dict row;
    row["root"] = tree.root;
    row["parents"] = nb::cast(tree.parents);
    row["bytes_per_second"] = nb::cast(tree.bytes_per_second);
    row["proven"] = tree.proven;
    rows.append(row);
  }
  return rows;
}

std::vector<std::vector<int>> groups_of(const Topology& topology) {
  std::vector<int> devices(static_cast<std::size_t>(topology.size()));
  std::iota(devices.begin(), devices.end(), 0);
  return topology::find_groups(topology, devices);
}

// Bytes and utilisation as the memory of n x n arrays of int64 and float64.
nb::dict prediction_of(const Topology& topology, const std::string& algorithm, std::int64_t bytes,
                       int group_size) {
  schedule::Prediction prediction;
  {
    const nb::gil_scoped_release released;
    prediction = collectives::forecast_all_reduce(topology, collectives::parse_algorithm(algorithm),
                                                  bytes, group_size);
  }
  const auto n = static_cast<std::size_t>(topology.size());
  std::vector<double> utilisation(prediction.link_bytes.size());
  for (std::size_t i = 0; i < utilisation.size(); ++i) {
    if (prediction.link_bytes[i] == 0) continue;
    const auto& link = topology.link(static_cast<int>(i / n), static_cast<int>(i % n));
    utilisation[i] =
        static_cast<double>(prediction.link_bytes[i]) / *link.bytes_per_second / prediction.seconds;
  }
  nb::dict row;
  row["seconds"] = prediction.seconds;
  row["lower_bound_seconds"] = prediction.lower_bound_seconds;
  row["bottleneck"] =
      prediction.bottleneck_from < 0
          ? nb::none()
          : nb::object(nb::make_tuple(prediction.bottleneck_from, prediction.bottleneck_to));
  row["link_bytes"] =
      nb::bytes(prediction.link_bytes.data(), prediction.link_bytes.size() * sizeof(std::int64_t));
  row["utilisation"] = nb::bytes(utilisation.data(), utilisation.size() * sizeof(double));
  return row;
}

}  // namespace

void bind_topology_search(nb::class_<Topology>& type) {
  type.def("rings", rings_of, nb::arg("k"), "A dict a ring, best first.")
      .def("trees", trees_of, nb::arg("k"), nb::arg("children"),
           "A dict a tree; children 0: any number.")
      .def("cliques",
           [](const Topology& topology) { return topology::find_cliques(topology).cliques; })
      .def("groups", groups_of)
      .def("predict", prediction_of, nb::arg("algorithm"), nb::arg("bytes"), nb::arg("group_size"),
           "An all-reduce with one rank on each device. The arrays are n x n int64 and float64.");
}

}  // namespace weft::python
