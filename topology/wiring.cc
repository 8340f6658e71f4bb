// Reading the wiring out of NVML and sysfs. See wiring.h.
#include "topology/wiring.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <utility>

#include "core/base/error.h"

namespace weft::topology {
namespace {

// More than any GPU has; NVML refuses numbers that a device does not have.
constexpr unsigned int kMostLinks = 64;

// One device as NVML shows it.
struct Port {
  NvmlDevice handle = nullptr;
  std::int32_t switch_links = 0;
  std::int32_t lost_links = 0;             // active, but the other end is not told
  std::vector<std::int32_t> direct_links;  // by device
  std::optional<double> bytes_per_second;  // of its slowest active link
};

bool same_address(const NvmlPciInfo& info, const std::string& address) {
  unsigned int domain = 0, bus = 0, device = 0;
  return std::sscanf(address.c_str(), "%x:%x:%x", &domain, &bus, &device) == 3 &&
         info.domain == domain && info.bus == bus && info.device == device;
}

std::optional<double> link_rate(const NvmlApi& nvml, NvmlDevice handle, unsigned int link) {
  if (!nvml.field_values) return std::nullopt;
  NvmlFieldValue value{};
  value.field = kNvmlFieldLinkSpeed;
  value.scope = link;
  if (nvml.field_values(handle, 1, &value) != kNvmlSuccess || value.status != kNvmlSuccess ||
      value.value_type != kNvmlTypeUnsignedInt || value.value.as_uint == 0) {
    return std::nullopt;
  }
  return value.value.as_uint * 1e6;
}

// Which device the link leads to, if it is one of ours.
std::optional<std::size_t> remote_device(const NvmlApi& nvml, NvmlDevice handle, unsigned int link,
                                         const std::vector<std::optional<std::string>>& addresses) {
  NvmlPciInfo info{};
  if (!nvml.link_remote_pci || nvml.link_remote_pci(handle, link, &info) != kNvmlSuccess) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i] && same_address(info, *addresses[i])) return i;
  }
  return std::nullopt;
}

void add_link(const NvmlApi& nvml, unsigned int link,
              const std::vector<std::optional<std::string>>& addresses, Port* port) {
  int type = -1;
  const bool to_switch = nvml.link_remote_type &&
                         nvml.link_remote_type(port->handle, link, &type) == kNvmlSuccess &&
                         type == kNvmlRemoteIsSwitch;
  const auto remote = to_switch ? std::nullopt : remote_device(nvml, port->handle, link, addresses);
  if (to_switch) {
    ++port->switch_links;
  } else if (remote) {
    ++port->direct_links[*remote];
  } else {
    ++port->lost_links;
    return;
  }
  if (const auto rate = link_rate(nvml, port->handle, link)) {
    port->bytes_per_second = std::min(port->bytes_per_second.value_or(*rate), *rate);
  }
}

Port find_port(const NvmlApi& nvml, std::size_t index,
               const std::vector<std::optional<std::string>>& addresses,
               std::vector<std::string>* notes) {
  Port port;
  port.direct_links.assign(addresses.size(), 0);
  if (!addresses[index]) return port;
  if (const int status = nvml.handle_by_pci(addresses[index]->c_str(), &port.handle);
      status != kNvmlSuccess) {
    port.handle = nullptr;
    notes->push_back(concat("links: NVML does not know device ", index, " at ", *addresses[index],
                            ": error ", status));
    return port;
  }
  for (unsigned int link = 0; nvml.link_state && link < kMostLinks; ++link) {
    int active = 0;
    if (nvml.link_state(port.handle, link, &active) == kNvmlSuccess && active == 1) {
      add_link(nvml, link, addresses, &port);
    }
  }
  if (port.lost_links > 0) {
    notes->push_back(
        concat("links: device ", index, " has ", port.lost_links,
               " active NVLinks whose other end is none of these devices or not told"));
  }
  return port;
}

PathKind pci_path(const NvmlApi& nvml, const Port& from, const Port& to) {
  int level = -1;
  if (!from.handle || !to.handle || !nvml.common_ancestor ||
      nvml.common_ancestor(from.handle, to.handle, &level) != kNvmlSuccess) {
    return PathKind::unknown;
  }
  switch (level) {
    case 0:  // two devices of one board
    case 10:
      return PathKind::pix;
    case 20:
      return PathKind::pxb;
    case 30:
      return PathKind::phb;
    case 40:
      return PathKind::node;
    case 50:
      return PathKind::sys;
    default:
      return PathKind::unknown;
  }
}

Link make_link(const NvmlApi& nvml, const std::vector<Port>& ports, std::size_t from,
               std::size_t to) {
  Link link;
  const Port& a = ports[from];
  const Port& b = ports[to];
  link.count = a.direct_links[to] + std::min(a.switch_links, b.switch_links);
  if (link.count == 0) {
    link.kind = pci_path(nvml, a, b);
    return link;
  }
  link.kind = PathKind::nvlink;
  if (a.bytes_per_second) link.bytes_per_second = *a.bytes_per_second * link.count;
  return link;
}

}  // namespace

std::vector<Link> find_links(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes) {
  const std::size_t n = addresses.size();
  std::vector<Link> links(n * n);
  std::vector<Port> ports;
  for (std::size_t i = 0; nvml && i < n; ++i) {
    ports.push_back(find_port(*nvml, i, addresses, notes));
  }
  bool unknown_path = false, unknown_rate = false;
  for (std::size_t from = 0; from < n; ++from) {
    for (std::size_t to = 0; to < n; ++to) {
      Link& link = links[from * n + to];
      if (from == to) {
        link.kind = PathKind::self;
        continue;
      }
      if (nvml) link = make_link(*nvml, ports, from, to);
      unknown_path = unknown_path || link.kind == PathKind::unknown;
      unknown_rate = unknown_rate || !link.bytes_per_second;
    }
  }
  if (nvml && unknown_path) notes->push_back("links: NVML does not tell the path of every pair");
  if (unknown_rate) {
    notes->push_back(
        "bytes_per_second: the driver tells rates of NVLinks only; null is not measured");
  }
  if (n > 1)
    notes->push_back("latency_seconds: the driver does not tell it, and it is not measured");
  return links;
}

std::optional<std::int32_t> find_numa_node(const std::string& address, const std::string& sysfs) {
  std::ifstream file(sysfs + "/bus/pci/devices/" + address + "/numa_node");
  std::int32_t node = -1;
  if (!(file >> node) || node < 0) return std::nullopt;
  return node;
}

}  // namespace weft::topology
