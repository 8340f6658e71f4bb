// Topology as JSON, schema weft.topology/1:
//   {"schema", "name", "simulated", "devices": [{"device", "name", "numa", "pci"}],
//    "links": [{"from", "to", "kind", "cell", "count", "peer_access", "bytes_per_second",
//               "latency_seconds"}], "matrix": [[cell]], "notes": [text]}
// Rates are bytes per second in one direction. A figure that is not known is null, and a note says
// why.
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>

#include "topology/topology.h"

namespace weft::topology {
namespace {

std::string quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (code < 0x20) {
      out += "\\u00";
      out += {kHex[code >> 4], kHex[code & 15]};
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// Not by a stream: the user's locale must not choose the decimal sign.
template <class Number>
std::string number(Number value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return std::string(text.data(), end);
}

std::string number(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? number(*value) : "null";
}

const char* truth(bool value) { return value ? "true" : "false"; }

const char* kind_name(PathKind kind) {
  constexpr std::array<const char*, 8> kNames = {"self", "nvlink", "pix", "pxb",
                                                 "phb",  "node",   "sys", "unknown"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string device_json(const Node& node) {
  return "{\"device\": " + quoted(node.device.str()) + ", \"name\": " + quoted(node.name) +
         ", \"numa\": " + (node.numa ? number(*node.numa) : "null") +
         ", \"pci\": " + (node.pci ? quoted(*node.pci) : "null") + "}";
}

std::string link_json(const Topology& topology, int from, int to) {
  const Link& link = topology.link(from, to);
  return "{\"from\": " + number(from) + ", \"to\": " + number(to) + ", \"kind\": \"" +
         kind_name(link.kind) + "\", \"cell\": \"" + topology.cell(from, to) +
         "\", \"count\": " + number(link.count) + ", \"peer_access\": " + truth(link.peer_access) +
         ", \"bytes_per_second\": " + number(link.bytes_per_second) +
         ", \"latency_seconds\": " + number(link.latency_seconds) + "}";
}

// Calls item(i) for 0 <= i < count and lists the results.
template <class Item>
std::string list(int count, const Item& item) {
  std::string out = "[";
  for (int i = 0; i < count; ++i) out += (i == 0 ? "" : ", ") + item(i);
  return out + "]";
}

}  // namespace

std::string Topology::to_json() const {
  const int n = size();
  const auto device = [&](int i) { return device_json(node(i)); };
  const int others = n - 1;  // no links to oneself
  const auto link = [&](int i) {
    const int from = i / others;
    const int to = i % others;
    return link_json(*this, from, to < from ? to : to + 1);
  };
  const auto row = [&](int from) {
    return list(n, [&](int to) { return quoted(cell(from, to)); });
  };
  const auto note = [&](int i) { return quoted(notes[static_cast<std::size_t>(i)]); };
  return "{\"schema\": \"weft.topology/1\", \"name\": " + quoted(name_) +
         ", \"simulated\": " + truth(simulated_) + ", \"devices\": " + list(n, device) +
         ", \"links\": " + list(n * others, link) + ", \"matrix\": " + list(n, row) +
         ", \"notes\": " + list(static_cast<int>(notes.size()), note) + "}";
}

}  // namespace weft::topology
