// An NVML of machines that are made up: by PCI bus what NVLinks a device has, and the answers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "topology/probe/nvml.h"

namespace weft::topology::testing {

struct FakeLink {
  bool active = true;
  int remote_type = 0;  // 0: a GPU
  unsigned int remote_bus = 0;
  unsigned int speed = 26562;  // MB/s
  unsigned int version = 6;
  unsigned long long sent_kib = 0, received_kib = 0, errors = 0;
};

struct FakeDevice {
  std::vector<FakeLink> links;
};

// NVML's functions take no context, so there is one machine at a time.
struct FakeMachine {
  std::map<unsigned int, FakeDevice> devices;  // by "0000:BUS:00.0", or slot for bus 0
  int ancestor_level = 50;
  int peer_status = 0;
  bool counts_throughput = true;
};
inline FakeMachine machine;

// "0000:1b:00.0" is 0x1b, "0000:00:04.0" is 4.
inline unsigned int place_of(const std::string& address) {
  const auto bus = std::strtoul(address.substr(5, 2).c_str(), nullptr, 16);
  const auto slot = std::strtoul(address.substr(8, 2).c_str(), nullptr, 16);
  return static_cast<unsigned int>(bus == 0 ? slot : bus);
}
inline const FakeLink* find_link(NvmlDevice handle, unsigned int link) {
  const auto place = static_cast<unsigned int>(reinterpret_cast<std::uintptr_t>(handle));
  const FakeDevice& device = machine.devices.at(place);
  return link < device.links.size() ? &device.links[link] : nullptr;
}

inline int answer_field(const FakeLink& link, NvmlFieldValue* value) {
  value->status = kNvmlSuccess;
  value->value_type = kNvmlTypeUnsignedLongLong;
  switch (value->field) {
    case kNvmlFieldLinkSpeed:
      value->value_type = kNvmlTypeUnsignedInt;
      value->value.as_uint = link.speed;
      break;
    case kNvmlFieldSentKib:
      value->value.as_ulonglong = link.sent_kib;
      break;
    case kNvmlFieldReceivedKib:
      value->value.as_ulonglong = link.received_kib;
      break;
    default:
      value->status = 3;
  }
  if (value->field != kNvmlFieldLinkSpeed && !machine.counts_throughput) value->status = 3;
  return kNvmlSuccess;
}

inline void fake_links(NvmlApi& api) {
  api.link_state = [](NvmlDevice device, unsigned int number, int* active) {
    const FakeLink* link = find_link(device, number);
    if (!link) return 2;
    *active = link->active ? 1 : 0;
    return kNvmlSuccess;
  };
  api.link_remote_type = [](NvmlDevice device, unsigned int number, int* type) {
    *type = find_link(device, number)->remote_type;
    return kNvmlSuccess;
  };
  api.link_remote_pci = [](NvmlDevice device, unsigned int number, NvmlPciInfo* info) {
    info->bus = find_link(device, number)->remote_bus;
    return kNvmlSuccess;
  };
  api.link_version = [](NvmlDevice device, unsigned int number, unsigned int* version) {
    *version = find_link(device, number)->version;
    return kNvmlSuccess;
  };
  api.link_errors = [](NvmlDevice device, unsigned int number, int, unsigned long long* count) {
    *count = find_link(device, number)->errors;
    return kNvmlSuccess;
  };
}

inline NvmlApi fake_nvml() {
  NvmlApi api;
  api.init = [] { return kNvmlSuccess; };
  api.handle_by_pci = [](const char* address, NvmlDevice* device) {
    const unsigned int place = place_of(address);
    *device = reinterpret_cast<NvmlDevice>(static_cast<std::uintptr_t>(place));
    return machine.devices.contains(place) ? kNvmlSuccess : 6;
  };
  fake_links(api);
  api.common_ancestor = [](NvmlDevice, NvmlDevice, int* level) {
    *level = machine.ancestor_level;
    return kNvmlSuccess;
  };
  api.field_values = [](NvmlDevice device, int count, NvmlFieldValue* values) {
    for (int i = 0; i < count; ++i) {
      answer_field(*find_link(device, values[i].scope), values + i);
    }
    return kNvmlSuccess;
  };
  api.peer_status = [](NvmlDevice, NvmlDevice, int, int* status) {
    *status = machine.peer_status;
    return kNvmlSuccess;
  };
  api.cpu_affinity = [](NvmlDevice, unsigned int words, unsigned long* set) {
    set[0] = 0xf00000000000000fUL;  // 0-3 and 60-63
    if (words > 1) set[1] = 5;      // 64 and 66
    return kNvmlSuccess;
  };
  api.driver_version = [](char* text, unsigned int length) {
    std::string("580.159.04").copy(text, length - 1);
    return kNvmlSuccess;
  };
  api.cuda_version = [](int* version) {
    *version = 13000;
    return kNvmlSuccess;
  };
  return api;
}

}  // namespace weft::topology::testing
