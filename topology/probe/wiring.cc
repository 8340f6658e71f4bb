// Reading the wiring out of NVML. See wiring.h.
#include "topology/probe/wiring.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <utility>

#include "core/base/error.h"

namespace weft::topology {
namespace {

// More than any GPU has; NVML refuses numbers that a device does not have.
constexpr unsigned int kMostLinks = 64;

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

// "0000:1b:00.0", as sysfs writes it. Masked addresses are zeros or ones.
std::optional<std::string> address_of(const NvmlPciInfo& info) {
  if (info.domain == 0 && info.bus == 0 && info.device == 0) return std::nullopt;
  if (info.bus > 0xff || info.device > 0x1f) return std::nullopt;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.0", info.domain & 0xffffffffU, info.bus,
                info.device);
  return std::string(text.data());
}

std::optional<std::int32_t> generation_of(const NvmlApi& nvml, NvmlDevice handle,
                                          unsigned int link) {
  // NVML numbers 1.0, 2.0, 2.2, 3.0, 3.1, 4.0, 5.0, 6.0.
  constexpr std::array<std::int32_t, 9> kGenerations = {0, 1, 2, 2, 3, 3, 4, 5, 6};
  unsigned int version = 0;
  if (!nvml.link_version || nvml.link_version(handle, link, &version) != kNvmlSuccess ||
      version == 0 || version >= kGenerations.size()) {
    return std::nullopt;
  }
  return kGenerations[version];
}

PortLink read_link(const NvmlApi& nvml, NvmlDevice handle, unsigned int number,
                   const std::vector<std::optional<std::string>>& addresses) {
  PortLink link;
  link.number = number;
  int type = -1;
  link.to_switch = nvml.link_remote_type &&
                   nvml.link_remote_type(handle, number, &type) == kNvmlSuccess &&
                   type == kNvmlRemoteIsSwitch;
  NvmlPciInfo info{};
  if (nvml.link_remote_pci && nvml.link_remote_pci(handle, number, &info) == kNvmlSuccess) {
    link.remote = address_of(info);
    for (std::size_t i = 0; i < addresses.size() && !link.to_switch; ++i) {
      if (addresses[i] && same_address(info, *addresses[i])) link.device = i;
    }
  }
  link.generation = generation_of(nvml, handle, number);
  link.bytes_per_second = link_rate(nvml, handle, number);
  return link;
}

Port find_port(const NvmlApi& nvml, std::size_t index,
               const std::vector<std::optional<std::string>>& addresses,
               std::vector<std::string>* notes) {
  Port port;
  if (!addresses[index]) return port;
  if (const int status = nvml.handle_by_pci(addresses[index]->c_str(), &port.handle);
      status != kNvmlSuccess) {
    port.handle = nullptr;
    notes->push_back(concat("links: NVML does not know device ", index, " at ", *addresses[index],
                            ": error ", status));
    return port;
  }
  std::int32_t lost = 0;
  for (unsigned int number = 0; nvml.link_state && number < kMostLinks; ++number) {
    int active = 0;
    if (nvml.link_state(port.handle, number, &active) != kNvmlSuccess || active != 1) continue;
    port.links.push_back(read_link(nvml, port.handle, number, addresses));
    if (!port.links.back().to_switch && !port.links.back().device) ++lost;
  }
  if (lost > 0) {
    notes->push_back(
        concat("links: device ", index, " has ", lost,
               " active NVLinks whose other end is none of these devices or not told"));
  }
  return port;
}

// Links of the port to the device, or to switches (nullopt).
std::int32_t count_links(const Port& port, std::optional<std::size_t> to) {
  return static_cast<std::int32_t>(
      std::count_if(port.links.begin(), port.links.end(),
                    [&](const PortLink& link) { return to ? link.device == to : link.to_switch; }));
}

// Of the slowest active link that leads somewhere.
std::optional<double> slowest(const Port& port) {
  std::optional<double> rate;
  for (const PortLink& link : port.links) {
    if ((!link.to_switch && !link.device) || !link.bytes_per_second) continue;
    rate = std::min(rate.value_or(*link.bytes_per_second), *link.bytes_per_second);
  }
  return rate;
}

// Why the pair has no peer access, in NVML's words; empty if it has, or NVML does not say.
std::string peer_problem(const NvmlApi& nvml, const Port& from, const Port& to) {
  constexpr std::array<const char*, 7> kWords = {"",
                                                 "the chipset does not support it",
                                                 "a GPU does not support it",
                                                 "the topology does not support it",
                                                 "the driver's registry disables it",
                                                 "it is not supported",
                                                 "the driver does not know"};
  int status = 0;
  if (!from.handle || !to.handle || !nvml.peer_status ||
      nvml.peer_status(from.handle, to.handle, 0, &status) != kNvmlSuccess || status <= 0 ||
      status >= static_cast<int>(kWords.size())) {
    return {};
  }
  return concat("peer access: ", kWords[static_cast<std::size_t>(status)]);
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
  const std::int32_t direct = count_links(a, to);
  link.count = direct + std::min(count_links(a, std::nullopt), count_links(b, std::nullopt));
  link.reason = peer_problem(nvml, a, b);
  if (link.count == 0) {
    link.kind = pci_path(nvml, a, b);
    if (link.kind == PathKind::pix || link.kind == PathKind::pxb) link.via = Via::through_switch;
    return link;
  }
  link.kind = PathKind::nvlink;
  link.via = direct > 0 ? Via::direct : Via::through_switch;
  if (const auto rate = slowest(a)) link.bytes_per_second = *rate * link.count;
  return link;
}

}  // namespace

std::vector<Port> find_ports(const NvmlApi& nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes) {
  std::vector<Port> ports;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    ports.push_back(find_port(nvml, i, addresses, notes));
  }
  return ports;
}

std::vector<Link> find_links(const NvmlApi& nvml, const std::vector<Port>& ports,
                             std::vector<std::string>* notes) {
  const std::size_t n = ports.size();
  std::vector<Link> links(n * n);
  bool unknown_path = false;
  for (std::size_t from = 0; from < n; ++from) {
    for (std::size_t to = 0; to < n; ++to) {
      Link& link = links[from * n + to];
      if (from == to) {
        link.kind = PathKind::self;
        continue;
      }
      link = make_link(nvml, ports, from, to);
      unknown_path = unknown_path || link.kind == PathKind::unknown;
    }
  }
  if (unknown_path) notes->push_back("links: NVML does not tell the path of every pair");
  return links;
}

std::vector<Link> find_links(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             std::vector<std::string>* notes) {
  const std::size_t n = addresses.size();
  if (nvml) return find_links(*nvml, find_ports(*nvml, addresses, notes), notes);
  std::vector<Link> links(n * n);
  for (std::size_t i = 0; i < n; ++i) links[i * n + i].kind = PathKind::self;
  return links;
}

std::optional<std::string> find_affinity(const NvmlApi& nvml, const std::string& address) {
  constexpr int kBits = 64;
  std::array<unsigned long, 64> words{};
  NvmlDevice device = nullptr;
  if (!nvml.cpu_affinity || nvml.handle_by_pci(address.c_str(), &device) != kNvmlSuccess ||
      nvml.cpu_affinity(device, static_cast<unsigned>(words.size()), words.data()) !=
          kNvmlSuccess) {
    return std::nullopt;
  }
  const int count = static_cast<int>(words.size()) * kBits;
  const auto near = [&](int cpu) {
    return cpu < count && (words[static_cast<std::size_t>(cpu / kBits)] >> (cpu % kBits) & 1) != 0;
  };
  std::string list;
  for (int first = 0; first < count; ++first) {
    if (!near(first)) continue;
    int last = first;
    while (near(last + 1)) ++last;
    list += concat(list.empty() ? "" : ",", first);
    if (last > first) list += concat("-", last);
    first = last;
  }
  return list.empty() ? std::nullopt : std::optional(list);
}

}  // namespace weft::topology
