#include "collectives/executor/cuda/launch_graphs.h"

#include <array>
#include <cstring>

#include "core/device/cuda/cuda_api.h"

namespace weft::collectives::cuda {

namespace {

constexpr std::size_t kMostParamBytes = 4096;

cudaKernelNodeParams node_params(const KernelCall& call, void** parameters) {
  cudaKernelNodeParams params{};
  params.func = const_cast<void*>(call.kernel.function);
  params.gridDim = dim3(static_cast<unsigned>(call.blocks));
  params.blockDim = dim3(static_cast<unsigned>(call.threads));
  params.sharedMemBytes = static_cast<unsigned>(call.kernel.shared_bytes);
  params.kernelParams = parameters;
  return params;
}

}  // namespace

struct LaunchGraphs::Entry {
  const void* function = nullptr;
  std::int32_t shared_bytes = 0;
  int device = 0;
  cudaGraph_t graph = nullptr;
  cudaGraphNode_t node = nullptr;
  cudaGraphExec_t exec = nullptr;  // null: not made yet
  std::int32_t blocks = 0;
  std::int32_t threads = 0;
  std::array<std::byte, kMostParamBytes> params{};  // as last launched

  Entry() = default;
  ~Entry() {
    if (exec) static_cast<void>(cuda_api().graph_exec_destroy(exec));
    if (graph) static_cast<void>(cuda_api().graph_destroy(graph));
  }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  void make() {
    const CudaApi& api = cuda_api();
    const CurrentDevice current(device);
    KernelCall call{{function, threads, shared_bytes}, blocks, threads, params.data(), 0};
    void* parameters[] = {call.params};
    const cudaKernelNodeParams wanted = node_params(call, parameters);
    check_cuda(api.graph_create(&graph, 0), "cudaGraphCreate", device);
    check_cuda(api.graph_add_kernel_node(&node, graph, nullptr, 0, &wanted),
               "cudaGraphAddKernelNode", device);
    const cudaLaunchAttribute domain = remote_domain();
    check_cuda(api.graph_kernel_node_set_attribute(node, domain.id, &domain.val),
               "cudaGraphKernelNodeSetAttribute", device);
    check_cuda(api.graph_instantiate(&exec, graph, 0), "cudaGraphInstantiate", device);
  }
  bool is_same(const KernelCall& call) const {
    return blocks == call.blocks && threads == call.threads &&
           std::memcmp(params.data(), call.params, call.param_bytes) == 0;
  }
  void remember(const KernelCall& call) {
    blocks = call.blocks;
    threads = call.threads;
    std::memcpy(params.data(), call.params, call.param_bytes);
  }
};

LaunchGraphs::LaunchGraphs(const fabric::Fabric& fabric)
    : ranks_(static_cast<std::size_t>(fabric.world().value())) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    if (fabric.ranks_on(fabric.device(Rank(r)).id()) > 1) enabled_ = false;
  }
}
LaunchGraphs::~LaunchGraphs() = default;

void LaunchGraphs::prepare() {
  if (wanted_.empty()) return;
  const OutsideCaptures outside;
  const std::vector<Entry*> wanted = std::move(wanted_);
  wanted_.clear();
  for (Entry* entry : wanted) entry->make();
}

void LaunchGraphs::launch(const WorkContext& context, Rank rank, const KernelCall& call) {
  const auto plainly = [&] {
    launch_kernel(context, call.kernel, call.blocks, call.threads, call.params);
  };
  const Stream stream{context.native_stream};
  if (!enabled_ || call.param_bytes > kMostParamBytes) return plainly();
  if (context.device->is_capturing(stream)) return plainly();
  auto& entries = ranks_[static_cast<std::size_t>(rank.value())];
  Entry* found = nullptr;
  for (const auto& entry : entries) {
    if (entry->function == call.kernel.function) found = entry.get();
  }
  const CudaApi& api = cuda_api();
  const int device = context.device->id().ordinal.value();
  if (!found && entries.size() < kMost) {
    found = entries.emplace_back(std::make_unique<Entry>()).get();
    found->function = call.kernel.function;
    found->shared_bytes = call.kernel.shared_bytes;
    found->device = device;
    found->remember(call);
    wanted_.push_back(found);
  }
  if (!found || !found->exec) return plainly();
  if (!found->is_same(call)) {
    void* parameters[] = {call.params};
    const cudaKernelNodeParams wanted = node_params(call, parameters);
    check_cuda(api.graph_exec_kernel_node_set_params(found->exec, found->node, &wanted),
               "cudaGraphExecKernelNodeSetParams", device);
    found->remember(call);
  }
  check_cuda(api.graph_launch(found->exec, static_cast<cudaStream_t>(context.native_stream)),
             "cudaGraphLaunch", device);
}

}  // namespace weft::collectives::cuda
