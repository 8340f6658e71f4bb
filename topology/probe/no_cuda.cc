// Stands in for topology/probe/cuda/ in a build without CUDA.
#include "topology/probe/machine.h"
#include "topology/probe/works.h"

namespace weft::topology {

const ProbeWorks* cuda_probe_works() { return nullptr; }
std::vector<PeerAttributes> cuda_peer_attributes(int) { return {}; }

}  // namespace weft::topology
