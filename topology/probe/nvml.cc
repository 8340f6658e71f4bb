// Opening the driver's libraries. See nvml.h.
#include "topology/probe/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "core/base/error.h"

namespace weft::topology {
namespace {

constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE

template <class Function>
void find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
}

struct CudaDriver {
  int (*init)(unsigned int flags) = nullptr;
  int (*device_count)(int* count) = nullptr;
  int (*pci_address)(char* text, int length, int device) = nullptr;
};

// A library's functions, or why they cannot be used.
template <class Api>
struct Opened {
  Api api{};
  std::string why_not;
};

Opened<NvmlApi> open_nvml() {
  Opened<NvmlApi> nvml;
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    nvml.why_not = concat("NVML cannot be opened: ", dlerror());
    return nvml;
  }
  find(library, "nvmlInit_v2", &nvml.api.init);
  find(library, "nvmlDeviceGetHandleByPciBusId_v2", &nvml.api.handle_by_pci);
  find(library, "nvmlDeviceGetNvLinkState", &nvml.api.link_state);
  find(library, "nvmlDeviceGetNvLinkRemoteDeviceType", &nvml.api.link_remote_type);
  find(library, "nvmlDeviceGetNvLinkRemotePciInfo_v2", &nvml.api.link_remote_pci);
  find(library, "nvmlDeviceGetTopologyCommonAncestor", &nvml.api.common_ancestor);
  find(library, "nvmlDeviceGetFieldValues", &nvml.api.field_values);
  find(library, "nvmlDeviceGetNvLinkVersion", &nvml.api.link_version);
  find(library, "nvmlDeviceGetNvLinkErrorCounter", &nvml.api.link_errors);
  find(library, "nvmlDeviceGetP2PStatus", &nvml.api.peer_status);
  find(library, "nvmlDeviceGetUUID", &nvml.api.uuid);
  find(library, "nvmlDeviceGetMigMode", &nvml.api.mig_mode);
  find(library, "nvmlDeviceGetCpuAffinity", &nvml.api.cpu_affinity);
  find(library, "nvmlSystemGetDriverVersion", &nvml.api.driver_version);
  find(library, "nvmlSystemGetCudaDriverVersion_v2", &nvml.api.cuda_version);
  if (!nvml.api.init || !nvml.api.handle_by_pci) {
    nvml.why_not = "NVML is too old: nvmlInit_v2 or nvmlDeviceGetHandleByPciBusId_v2 is missing";
  } else if (const int status = nvml.api.init(); status != kNvmlSuccess) {
    nvml.why_not = concat("NVML does not start: error ", status);
  }
  return nvml;
}

Opened<CudaDriver> open_driver() {
  Opened<CudaDriver> cuda;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    cuda.why_not = concat("no CUDA driver: ", dlerror());
    return cuda;
  }
  find(library, "cuInit", &cuda.api.init);
  find(library, "cuDeviceGetCount", &cuda.api.device_count);
  find(library, "cuDeviceGetPCIBusId", &cuda.api.pci_address);
  if (!cuda.api.init || !cuda.api.device_count || !cuda.api.pci_address) {
    cuda.why_not = "the CUDA driver lacks cuInit, cuDeviceGetCount or cuDeviceGetPCIBusId";
  } else if (const int status = cuda.api.init(0); status == kNoDevice) {
    cuda.why_not = "the CUDA driver sees no device: CUDA_VISIBLE_DEVICES may hide them";
  } else if (status != 0) {
    cuda.why_not = concat("the CUDA driver does not start: error ", status);
  }
  return cuda;
}

const Opened<CudaDriver>& driver() {
  static const auto& opened = *new Opened<CudaDriver>(open_driver());
  return opened;
}

}  // namespace

const NvmlApi* load_nvml(std::string* why_not) {
  static const auto& opened = *new Opened<NvmlApi>(open_nvml());
  *why_not = opened.why_not;
  return opened.why_not.empty() ? &opened.api : nullptr;
}

int driver_device_count(std::string* why_not) {
  *why_not = driver().why_not;
  if (!why_not->empty()) return -1;
  int count = 0;
  if (const int status = driver().api.device_count(&count); status != 0) {
    *why_not = concat("the CUDA driver does not count its devices: error ", status);
    return -1;
  }
  return count;
}

std::optional<std::string> driver_pci_address(int ordinal) {
  if (!driver().why_not.empty()) return std::nullopt;
  std::array<char, 32> text{};
  // Ordinals and driver handles are the same numbers.
  if (driver().api.pci_address(text.data(), static_cast<int>(text.size()), ordinal) != 0) {
    return std::nullopt;
  }
  std::string address = text.data();
  std::transform(address.begin(), address.end(), address.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return address;
}

}  // namespace weft::topology
