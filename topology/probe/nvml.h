// The handful of NVML functions that the probe needs, and CUDA's PCI addresses, without their
// headers: both libraries belong to the driver, are opened at run time, and have a stable C ABI.
//
// Invariants
//   1. Nothing here throws; what is not there is nullptr, with the reason.
//   2. Libraries are opened once and never closed.
//
// The tables can be filled with other functions, which is how tests see machines they do not have.
#pragma once

#include <optional>
#include <string>

namespace weft::topology {

using NvmlDevice = void*;

// As in nvml.h of NVML 11 and later.
struct NvmlPciInfo {
  char bus_id_legacy[16];
  unsigned int domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(NvmlPciInfo) == 68);

union NvmlValue {
  double as_double;
  unsigned int as_uint;
  unsigned long long as_ulonglong;
};

struct NvmlFieldValue {
  unsigned int field, scope;
  long long timestamp, latency_us;
  int value_type, status;
  NvmlValue value;
};
static_assert(sizeof(NvmlFieldValue) == 40);

inline constexpr int kNvmlSuccess = 0;
inline constexpr int kNvmlRemoteIsSwitch = 2;
inline constexpr int kNvmlTypeUnsignedInt = 1;
inline constexpr int kNvmlTypeUnsignedLong = 2;
inline constexpr int kNvmlTypeUnsignedLongLong = 3;
// Of the link `scope`: its speed in MB/s, and the KiB of data that went out and came in.
inline constexpr unsigned int kNvmlFieldLinkSpeed = 164;
inline constexpr unsigned int kNvmlFieldSentKib = 138;
inline constexpr unsigned int kNvmlFieldReceivedKib = 139;
// Counters of errors on a link, by nvmlNvLinkErrorCounter_t.
inline constexpr int kNvmlReplayErrors = 0;
inline constexpr int kNvmlRecoveryErrors = 1;
inline constexpr int kNvmlCrcErrors = 3;

// Every function returns a status, kNvmlSuccess or an error. Those after `handle_by_pci` may be
// null.
struct NvmlApi {
  int (*init)() = nullptr;
  int (*handle_by_pci)(const char* bus_id, NvmlDevice* device) = nullptr;
  int (*link_state)(NvmlDevice device, unsigned int link, int* active) = nullptr;
  int (*link_remote_type)(NvmlDevice device, unsigned int link, int* type) = nullptr;
  int (*link_remote_pci)(NvmlDevice device, unsigned int link, NvmlPciInfo* info) = nullptr;
  int (*common_ancestor)(NvmlDevice a, NvmlDevice b, int* level) = nullptr;
  int (*field_values)(NvmlDevice device, int count, NvmlFieldValue* values) = nullptr;
  int (*link_version)(NvmlDevice device, unsigned int link, unsigned int* version) = nullptr;
  int (*link_errors)(NvmlDevice device, unsigned int link, int counter,
                     unsigned long long* count) = nullptr;
  // Which of the peer's capabilities `index` is why not there: 0 is reading.
  int (*peer_status)(NvmlDevice a, NvmlDevice b, int index, int* status) = nullptr;
  int (*uuid)(NvmlDevice device, char* text, unsigned int length) = nullptr;
  int (*mig_mode)(NvmlDevice device, unsigned int* current, unsigned int* pending) = nullptr;
  int (*cpu_affinity)(NvmlDevice device, unsigned int words, unsigned long* set) = nullptr;
  int (*driver_version)(char* text, unsigned int length) = nullptr;
  int (*cuda_version)(int* version) = nullptr;  // 13000 is 13.0
};

// The driver's NVML, started; or null and why not.
const NvmlApi* load_nvml(std::string* why_not);

// The devices as CUDA numbers them (CUDA_VISIBLE_DEVICES included). -1 and a reason, if the driver
// cannot be asked.
int driver_device_count(std::string* why_not);
// "0000:1b:00.0", if the driver tells.
std::optional<std::string> driver_pci_address(int ordinal);

}  // namespace weft::topology
