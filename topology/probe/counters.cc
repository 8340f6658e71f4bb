// See counters.h.
#include "topology/probe/counters.h"

#include "core/base/clock.h"
#include "core/base/error.h"

namespace weft::topology {
namespace {

constexpr unsigned int kMostLinks = 64;

std::optional<std::uint64_t> whole(const NvmlFieldValue& value) {
  if (value.status != kNvmlSuccess) return std::nullopt;
  switch (value.value_type) {
    case kNvmlTypeUnsignedInt:
      return value.value.as_uint;
    case kNvmlTypeUnsignedLong:
    case kNvmlTypeUnsignedLongLong:
      return value.value.as_ulonglong;
    default:
      return std::nullopt;
  }
}

std::optional<std::uint64_t> kib(const NvmlApi& nvml, NvmlDevice device, unsigned int link,
                                 unsigned int field) {
  if (!nvml.field_values) return std::nullopt;
  NvmlFieldValue value{};
  value.field = field;
  value.scope = link;
  if (nvml.field_values(device, 1, &value) != kNvmlSuccess) return std::nullopt;
  const auto found = whole(value);
  return found ? std::optional(*found * 1024) : std::nullopt;
}

std::optional<std::uint64_t> errors(const NvmlApi& nvml, NvmlDevice device, unsigned int link,
                                    int counter) {
  unsigned long long count = 0;
  if (!nvml.link_errors || nvml.link_errors(device, link, counter, &count) != kNvmlSuccess) {
    return std::nullopt;
  }
  return count;
}

void read_device(const NvmlApi& nvml, std::size_t index, const std::string& address,
                 CounterReading* reading) {
  NvmlDevice device = nullptr;
  if (nvml.handle_by_pci(address.c_str(), &device) != kNvmlSuccess) {
    reading->notes.push_back(concat("NVML does not know cuda:", index, " at ", address));
    return;
  }
  for (unsigned int number = 0; nvml.link_state && number < kMostLinks; ++number) {
    int active = 0;
    if (nvml.link_state(device, number, &active) != kNvmlSuccess) continue;
    LinkCounters link;
    link.device = static_cast<std::int32_t>(index);
    link.link = static_cast<std::int32_t>(number);
    link.active = active == 1;
    link.sent_bytes = kib(nvml, device, number, kNvmlFieldSentKib);
    link.received_bytes = kib(nvml, device, number, kNvmlFieldReceivedKib);
    link.replay_errors = errors(nvml, device, number, kNvmlReplayErrors);
    link.recovery_errors = errors(nvml, device, number, kNvmlRecoveryErrors);
    link.crc_errors = errors(nvml, device, number, kNvmlCrcErrors);
    reading->links.push_back(link);
  }
}

}  // namespace

CounterReading read_counters(const NvmlApi* nvml,
                             const std::vector<std::optional<std::string>>& addresses,
                             const std::string& why_not) {
  CounterReading reading;
  if (!nvml) {
    reading.notes.push_back(why_not.empty() ? "there is no NVML" : why_not);
    return reading;
  }
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    if (addresses[i]) {
      read_device(*nvml, i, *addresses[i], &reading);
    } else {
      reading.notes.push_back(concat("the driver does not tell the PCI address of cuda:", i));
    }
  }
  if (reading.links.empty()) reading.notes.push_back("no device has an NVLink that NVML shows");
  reading.at_ns = now_ns();
  return reading;
}

CounterReading read_counters() {
  std::string why_not;
  const int count = driver_device_count(&why_not);
  if (count <= 0) {
    CounterReading reading;
    reading.notes.push_back(why_not.empty() ? "the CUDA driver sees no device" : why_not);
    return reading;
  }
  std::vector<std::optional<std::string>> addresses;
  for (int i = 0; i < count; ++i) addresses.push_back(driver_pci_address(i));
  const NvmlApi* nvml = load_nvml(&why_not);
  return read_counters(nvml, addresses, why_not);
}

}  // namespace weft::topology
