// What CUDA tells of pairs of its devices. See topology/probe/machine.h.
#include "core/device/cuda/cuda_api.h"
#include "topology/probe/machine.h"

namespace weft::topology {
namespace {

std::optional<int> attribute(cudaDeviceP2PAttr which, int from, int to) {
  const CudaApi& api = cuda_api();
  int value = 0;
  if (!api.device_get_p2p_attribute) return std::nullopt;
  if (api.device_get_p2p_attribute(&value, which, from, to) == cudaSuccess) return value;
  static_cast<void>(api.get_last_error());
  return std::nullopt;
}

}  // namespace

std::vector<PeerAttributes> cuda_peer_attributes(int devices) {
  const CudaApi& api = cuda_api();
  std::vector<PeerAttributes> all;
  for (int from = 0; from < devices; ++from) {
    for (int to = 0; to < devices; ++to) {
      PeerAttributes& pair = all.emplace_back();
      if (from == to) continue;
      int yes = 0;
      check_cuda(api.device_can_access_peer(&yes, from, to), "cudaDeviceCanAccessPeer", from);
      pair.access = yes != 0;
      if (const auto value = attribute(cudaDevP2PAttrNativeAtomicSupported, from, to)) {
        pair.native_atomics = *value != 0;
      }
      pair.performance_rank = attribute(cudaDevP2PAttrPerformanceRank, from, to);
    }
  }
  return all;
}

}  // namespace weft::topology
