// Documents as topologies. See topology.h.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "python/bind/topology.h"

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

template <class... Parts>
[[noreturn]] void bad(const std::string& place, const Parts&... what) {
  fail(ErrorCode::topology, place, ": ", what...);
}

bool is_integer(nb::handle value) {
  return PyLong_Check(value.ptr()) && !PyBool_Check(value.ptr());
}

std::string text(nb::handle value, const std::string& place) {
  std::string result;
  if (!nb::isinstance<nb::str>(value) || !nb::try_cast(value, result)) bad(place, "must be text");
  return result;
}

bool truth(nb::handle value, const std::string& place) {
  if (!PyBool_Check(value.ptr())) bad(place, "must be true or false");
  return value.ptr() == Py_True;
}

std::int64_t integer(nb::handle value, const std::string& place, std::int64_t least,
                     std::int64_t most) {
  std::int64_t result = 0;
  if (!is_integer(value)) bad(place, "must be a whole number");
  if (!nb::try_cast(value, result) || result < least || result > most) {
    bad(place, "must be a whole number from ", least, " to ", most);
  }
  return result;
}

std::int32_t small(nb::handle value, const std::string& place, std::int32_t least) {
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(integer(value, place, least, kMost));
}

// Finite and at least 0; above it, unless `zero`.
double number(nb::handle value, const std::string& place, bool zero) {
  double result = 0;
  const bool one = is_integer(value) || PyFloat_Check(value.ptr());
  if (!one || !nb::try_cast(value, result)) bad(place, "must be a number");
  if (!std::isfinite(result) || result < 0 || (result == 0 && !zero)) {
    bad(place, "must be finite and ", zero ? "not below 0" : "above 0", ", not ", result);
  }
  return result;
}

// An object of the document, with the names it may have; others are an error.
class Fields {
 public:
  Fields(nb::handle object, std::string place, std::initializer_list<std::string_view> names)
      : place_(std::move(place)) {
    if (!nb::isinstance<nb::dict>(object)) bad(place_, "must be an object");
    object_ = nb::borrow<nb::dict>(object);
    for (const auto& [key, value] : object_) {
      const std::string name = text(key, concat(place_, ": a name"));
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        bad(place_, "has no field \"", name.substr(0, 80), "\"");
      }
    }
  }

  std::string place(const char* name) const {
    return place_.empty() ? std::string(name) : concat(place_, ".", name);
  }
  // None where the field is missing.
  nb::object get(const char* name) const {
    return object_.contains(name) ? nb::object(object_[name]) : nb::none();
  }
  nb::object need(const char* name) const {
    if (!object_.contains(name)) bad(place(name), "is missing");
    return object_[name];
  }
  // read(value, place) of the field; nothing where it is missing or null.
  template <class Read>
  auto maybe(const char* name, const Read& read) const
      -> std::optional<decltype(read(nb::handle(), std::string()))> {
    const nb::object value = get(name);
    if (value.is_none()) return std::nullopt;
    return read(value, place(name));
  }
  // The entries of a list, each with its place. A missing list is empty.
  template <class Read>
  void each(const char* name, std::size_t most, const Read& read) const {
    const nb::object list = get(name);
    if (list.is_none()) return;
    if (!nb::isinstance<nb::list>(list)) bad(place(name), "must be a list");
    const std::size_t count = nb::len(list);
    if (count > most)
      bad(place(name), "has ", count, " entries, and at most ", most, " are handled");
    std::size_t i = 0;
    for (const nb::handle entry : nb::borrow<nb::list>(list)) {
      read(entry, concat(place(name), "[", i++, "]"));
    }
  }
  bool has(const char* name) const { return !get(name).is_none(); }

 private:
  nb::dict object_;
  std::string place_;
};

std::int32_t natural(nb::handle value, const std::string& place) { return small(value, place, 0); }
std::int32_t positive(nb::handle value, const std::string& place) { return small(value, place, 1); }
double rate(nb::handle value, const std::string& place) { return number(value, place, false); }
double seconds(nb::handle value, const std::string& place) { return number(value, place, true); }

topology::Host read_host(nb::handle value, const std::string& place) {
  const Fields fields(value, place, {"cpu", "numa_nodes", "iommu", "driver", "cuda"});
  topology::Host host;
  host.cpu = fields.maybe("cpu", text);
  host.iommu = fields.maybe("iommu", text);
  host.driver = fields.maybe("driver", text);
  host.cuda = fields.maybe("cuda", text);
  fields.each("numa_nodes", topology::kMaxVertices, [&](nb::handle entry, const std::string& at) {
    const Fields node(entry, at, {"id", "cpus"});
    host.numa_nodes.push_back(
        {natural(node.need("id"), node.place("id")), text(node.need("cpus"), node.place("cpus"))});
  });
  return host;
}

Node read_device(nb::handle value, const std::string& place) {
  const Fields fields(value, place, {"device", "name", "numa", "pci", "uuid"});
  const std::string id = text(fields.need("device"), fields.place("device"));
  Node node;
  try {
    node.device = DeviceId::parse(id);
  } catch (const Error& error) {
    bad(fields.place("device"), error.message());
  }
  node.name = text(fields.need("name"), fields.place("name"));
  node.numa = fields.maybe("numa", natural);
  node.pci = fields.maybe("pci", text);
  node.uuid = fields.maybe("uuid", text);
  return node;
}

Link read_link(const Fields& fields) {
  Link link;
  const std::string kind = text(fields.need("kind"), fields.place("kind"));
  const auto path = topology::path_kind(kind);
  if (!path || *path == topology::PathKind::self) {
    bad(fields.place("kind"), "there is no kind of link \"", kind.substr(0, 80), "\"");
  }
  link.kind = *path;
  link.count = fields.maybe("count", natural).value_or(0);
  if (const auto via = fields.maybe("via", text)) {
    if (*via != "direct" && *via != "switch") bad(fields.place("via"), "is direct, switch or null");
    link.via = *via == "direct" ? Via::direct : Via::through_switch;
  }
  link.peer_access = truth(fields.need("peer_access"), fields.place("peer_access"));
  link.verified = fields.maybe("verified", truth);
  link.bytes_per_second = fields.maybe("bytes_per_second", rate);
  link.latency_seconds = fields.maybe("latency_seconds", seconds);
  link.reason = fields.maybe("reason", text).value_or("");
  return link;
}

std::vector<Link> read_links(const Fields& document, std::size_t devices) {
  std::vector<Link> links(devices * devices);
  std::vector<bool> seen(links.size());
  for (std::size_t i = 0; i < devices; ++i) {
    links[i * devices + i].kind = topology::PathKind::self;
    links[i * devices + i].peer_access = true;
    seen[i * devices + i] = true;
  }
  const auto most = static_cast<std::int64_t>(devices) - 1;
  document.each("links", links.size(), [&](nb::handle entry, const std::string& place) {
    const Fields fields(entry, place,
                        {"from", "to", "kind", "cell", "count", "via", "peer_access", "verified",
                         "bytes_per_second", "latency_seconds", "reason"});
    const auto from = integer(fields.need("from"), fields.place("from"), 0, most);
    const auto to = integer(fields.need("to"), fields.place("to"), 0, most);
    const auto number = static_cast<std::size_t>(from) * devices + static_cast<std::size_t>(to);
    if (from == to) bad(place, "a device has no link to itself");
    if (seen[number]) bad(place, "a second link from ", from, " to ", to);
    seen[number] = true;
    links[number] = read_link(fields);
  });
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (!seen[i]) bad("links", "there is none from ", i / devices, " to ", i % devices);
  }
  return links;
}

Vertex read_vertex(nb::handle value, const std::string& place) {
  const Fields fields(value, place, {"id", "kind", "name", "numa", "pci", "attributes"});
  Vertex vertex;
  vertex.id = text(fields.need("id"), fields.place("id"));
  const std::string kind = text(fields.need("kind"), fields.place("kind"));
  const auto known = topology::vertex_kind(kind);
  if (!known) {
    bad(fields.place("kind"), "there is no kind of vertex \"", kind.substr(0, 80), "\"");
  }
  vertex.kind = *known;
  vertex.name = fields.maybe("name", text).value_or("");
  vertex.numa = fields.maybe("numa", natural);
  vertex.pci = fields.maybe("pci", text);
  const nb::object attributes = fields.get("attributes");
  if (attributes.is_none()) return vertex;
  if (!nb::isinstance<nb::dict>(attributes)) bad(fields.place("attributes"), "must be an object");
  for (const auto& [key, entry] : nb::borrow<nb::dict>(attributes)) {
    const std::string name = text(key, fields.place("attributes"));
    vertex.attributes.emplace_back(
        name, text(entry, concat(fields.place("attributes"), ".", name.substr(0, 80))));
  }
  return vertex;
}

Graph read_graph(const Fields& document) {
  Graph graph;
  std::unordered_map<std::string, int> number;
  document.each("vertices", topology::kMaxVertices, [&](nb::handle entry, const std::string& at) {
    Vertex vertex = read_vertex(entry, at);
    const auto index = static_cast<int>(graph.vertices.size());
    if (!number.emplace(vertex.id, index).second) {
      bad(at, "a second vertex has the id \"", vertex.id.substr(0, 80), "\"");
    }
    graph.vertices.push_back(std::move(vertex));
  });
  document.each("wires", topology::kMaxWires, [&](nb::handle entry, const std::string& at) {
    const Fields fields(
        entry, at,
        {"a", "b", "kind", "count", "generation", "width", "bytes_per_second", "latency_seconds"});
    const auto end = [&](const char* name) {
      const std::string id = text(fields.need(name), fields.place(name));
      const auto found = number.find(id);
      if (found == number.end()) {
        bad(fields.place(name), "there is no vertex \"", id.substr(0, 80), "\"");
      }
      return found->second;
    };
    Wire wire;
    wire.a = end("a");
    wire.b = end("b");
    if (wire.a == wire.b) bad(at, "it joins a vertex with itself");
    const std::string kind = text(fields.need("kind"), fields.place("kind"));
    const auto known = topology::wire_kind(kind);
    if (!known) {
      bad(fields.place("kind"), "there is no kind of wire \"", kind.substr(0, 80), "\"");
    }
    wire.kind = *known;
    wire.count = fields.maybe("count", positive).value_or(1);
    wire.generation = fields.maybe("generation", positive);
    wire.width = fields.maybe("width", positive);
    wire.bytes_per_second = fields.maybe("bytes_per_second", rate);
    wire.latency_seconds = fields.maybe("latency_seconds", seconds);
    graph.wires.push_back(wire);
  });
  return graph;
}

std::vector<Measurement> read_measurements(const Fields& document, int devices) {
  constexpr std::size_t kMost = 1 << 20;
  std::vector<Measurement> measurements;
  document.each("measurements", kMost, [&](nb::handle entry, const std::string& at) {
    const Fields fields(entry, at,
                        {"from", "to", "what", "engine", "both_directions", "bytes", "median",
                         "spread", "samples"});
    const auto end = [&](nb::handle value, const std::string& place) {
      return static_cast<int>(integer(value, place, 0, devices - 1));
    };
    Measurement one;
    one.from = fields.maybe("from", end).value_or(topology::kHostMemory);
    one.to = fields.maybe("to", end).value_or(topology::kHostMemory);
    one.what = text(fields.need("what"), fields.place("what"));
    one.engine = text(fields.need("engine"), fields.place("engine"));
    one.both_directions = truth(fields.need("both_directions"), fields.place("both_directions"));
    one.bytes = integer(fields.need("bytes"), fields.place("bytes"), 0,
                        std::numeric_limits<std::int64_t>::max());
    one.median = rate(fields.need("median"), fields.place("median"));
    one.spread = seconds(fields.need("spread"), fields.place("spread"));
    one.samples = positive(fields.need("samples"), fields.place("samples"));
    measurements.push_back(std::move(one));
  });
  return measurements;
}

std::vector<Node> read_devices(const Fields& document) {
  std::vector<Node> nodes;
  std::unordered_map<std::string, std::size_t> seen;
  document.each("devices", topology::kMaxDevices, [&](nb::handle entry, const std::string& at) {
    nodes.push_back(read_device(entry, at));
    if (!seen.emplace(nodes.back().device.str(), nodes.size()).second) {
      bad(at, "a second device is called ", nodes.back().device.str());
    }
  });
  return nodes;
}

Topology read_machine(const Fields& document, std::string name) {
  Graph graph = read_graph(document);
  if (!document.has("devices")) {
    if (document.has("links")) bad("devices", "is missing, and there are links");
    return Topology::from_graph(std::move(name), std::move(graph));
  }
  std::vector<Node> nodes = read_devices(document);
  if (graph.vertices.empty()) {
    std::vector<Link> links = read_links(document, nodes.size());
    return Topology(std::move(name), std::move(nodes), std::move(links));
  }
  std::vector<Link> links = document.has("links") ? read_links(document, nodes.size())
                                                  : Topology::from_graph(name, graph).links();
  return Topology::of_graph(std::move(name), std::move(nodes), std::move(links), std::move(graph));
}

}  // namespace

Topology topology_of(const nb::dict& document) {
  const Fields fields(document, "",
                      {"schema", "name", "simulated", "host", "devices", "links", "vertices",
                       "wires", "measurements", "cliques", "matrix", "notes"});
  const std::string schema = text(fields.need("schema"), "schema");
  if (schema != "weft.topology/1") {
    bad("schema", "is \"", schema.substr(0, 80), "\", and only weft.topology/1 is known");
  }
  Topology topology = read_machine(fields, text(fields.need("name"), "name"));
  if (const auto simulated = fields.maybe("simulated", truth)) topology.set_simulated(*simulated);
  topology.host = fields.maybe("host", read_host);
  topology.set_measurements(read_measurements(fields, topology.size()));
  fields.each("notes", 1 << 16, [&](nb::handle entry, const std::string& at) {
    topology.notes.push_back(text(entry, at));
  });
  return topology;
}

}  // namespace weft::python
