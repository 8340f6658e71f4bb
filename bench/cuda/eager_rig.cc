#include "bench/cuda/eager_rig.h"

#include <algorithm>
#include <utility>

#include "collectives/collectives.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/ops/copy.h"
#include "topology/probe/probe.h"
#include "topology/topology.h"

namespace weft::bench {
namespace {

using collectives::CallOptions;
using collectives::ReduceOp;
using fabric::Operation;

constexpr DeviceId kHost{DeviceKind::cpu, DeviceOrdinal(0)};
constexpr float kNoResult = -1;
constexpr std::int64_t kNap = 1'000'000;  // ns

// Small whole numbers, so that every sum is exact.
float value(std::size_t i, std::size_t rank) { return static_cast<float>(i % 97 + 1 + rank); }

Tensor vector_on(DeviceId device, std::size_t elements) {
  const std::int64_t sizes[] = {static_cast<std::int64_t>(elements)};
  return Tensor::empty(sizes, DType::f32, device);
}

std::span<float> values_of(const Tensor& host) {
  return {static_cast<float*>(host.data()), static_cast<std::size_t>(host.layout().elements())};
}

// Until ended() says so. It spins: a sleep could end much later than what it waits for.
template <class Ended>
void spin(std::int64_t timeout_ns, const char* what, const Ended& ended) {
  const Deadline deadline = Deadline::after_ns(timeout_ns);
  while (!ended()) {
    if (!deadline.passed()) continue;
    fail(ErrorCode::collective_timeout, what, " has not ended after ",
         static_cast<double>(timeout_ns) * 1e-9, " s");
  }
}

}  // namespace

Vectors::Vectors(const fabric::Fabric& fabric, std::size_t bytes, bool in_place)
    : in_place_(in_place), elements_(bytes / sizeof(float)) {
  for (int r = 0; r < fabric.world().value(); ++r) {
    inputs_.push_back(vector_on(fabric.device(Rank(r)).id(), elements_));
    if (!in_place) outputs_.push_back(vector_on(fabric.device(Rank(r)).id(), elements_));
  }
}

void Vectors::fill() {
  const Tensor host = vector_on(kHost, elements_);
  const std::span<float> values = values_of(host);
  for (std::size_t r = 0; r < inputs_.size(); ++r) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = value(i, r);
    copy_tensor(inputs_[r], host);
  }
  std::fill(values.begin(), values.end(), kNoResult);
  for (const Tensor& output : outputs_) copy_tensor(output, host);
}

void Vectors::clear() {
  const Tensor host = vector_on(kHost, elements_);
  std::ranges::fill(values_of(host), 0.0F);
  for (const Tensor& input : inputs_) copy_tensor(input, host);
  std::ranges::fill(values_of(host), kNoResult);
  for (const Tensor& output : outputs_) copy_tensor(output, host);
}

std::size_t Vectors::wrong(bool cleared) const {
  const Tensor host = vector_on(kHost, elements_);
  const std::span<float> values = values_of(host);
  std::size_t count = 0;
  for (const Tensor& output : outputs()) {
    copy_tensor(host, output);
    for (std::size_t i = 0; i < values.size(); ++i) {
      float sum = 0;
      for (std::size_t r = 0; r < inputs_.size() && !cleared; ++r) sum += value(i, r);
      if (values[i] != sum) ++count;
    }
  }
  return count;
}

EagerRig::EagerRig(const std::vector<DeviceId>& devices, const std::optional<std::string>& nccl,
                   double timeout)
    : timeout_ns_(seconds_to_ns(timeout)) {
  fabric::FabricOptions options;
  for (const DeviceId& id : devices) options.devices.push_back(&device(id));
  const bool cuda = !devices.empty() && devices.front().kind == DeviceKind::cuda;
  options.topology =
      cuda ? topology::probe()
           : topology::preset(topology::kDefaultPreset, static_cast<int>(devices.size()));
  options.timeout_seconds = timeout;
  fabric_ = collectives::open(std::move(options));
  if (cuda) make_streams();
  if (!nccl) return;
  std::vector<int> ordinals;
  for (const DeviceId& id : devices) ordinals.push_back(id.ordinal.value());
  nccl_.emplace(*nccl, ordinals);
}

EagerRig::~EagerRig() {
  fabric_->close();
  for (std::size_t r = 0; r < ours_.size(); ++r) {
    Device& device = fabric_->device(Rank(static_cast<std::int32_t>(r)));
    device.destroy_stream(ours_[r]);
    device.destroy_stream(theirs_[r]);
    device.destroy_event(ended_[r]);
  }
}

void EagerRig::make_streams() {
  for (int r = 0; r < fabric_->world().value(); ++r) {
    Device& device = fabric_->device(Rank(r));
    ours_.push_back(device.create_stream(StreamPriority::normal));
    theirs_.push_back(device.create_stream(StreamPriority::normal));
    ended_.push_back(device.create_event());
  }
}

std::vector<Contender> EagerRig::contenders(std::size_t bytes, bool in_place) {
  std::vector<Contender> made;
  made.push_back(ours(bytes, in_place));
  if (nccl_) made.push_back(theirs(bytes, in_place));
  return made;
}

Contender EagerRig::ours(std::size_t bytes, bool in_place) {
  const auto vectors = std::make_shared<Vectors>(*fabric_, bytes, in_place);
  const auto last = std::make_shared<std::shared_ptr<Operation>>();
  CallOptions options;
  options.streams = ours_;
  Contender made{.vectors = vectors, .call = {}, .wait = {}, .row = {}};
  made.call = [this, vectors, last, options] {
    *last = collectives::all_reduce(*fabric_, vectors->inputs(), vectors->outputs(), ReduceOp::sum,
                                    options);
  };
  made.wait = [this, last] {
    Operation& operation = **last;
    // Simulated ranks need the processor themselves.
    const bool simulated = ours_.empty();
    spin(timeout_ns_, "weft's all_reduce", [&] {
      return simulated ? operation.wait_until(Deadline::after_ns(kNap)) : operation.done();
    });
    if (const auto error = operation.error()) throw *error;
  };
  made.call();  // what is chosen is told by an operation
  made.wait();
  made.row.impl = "weft";
  made.row.algorithm = (*last)->info().algorithm;
  made.row.blocks = (*last)->info().blocks;
  made.row.scratch_bytes = fabric_->arena(Rank(0)).layout.scratch_bytes;
  return made;
}

Contender EagerRig::theirs(std::size_t bytes, bool in_place) {
  const auto vectors = std::make_shared<Vectors>(*fabric_, bytes, in_place);
  std::vector<void*> inputs;
  std::vector<void*> outputs;
  std::vector<cudaStream_t> streams;
  for (const Tensor& tensor : vectors->inputs()) inputs.push_back(tensor.data());
  for (const Tensor& tensor : vectors->outputs()) outputs.push_back(tensor.data());
  for (const Stream& stream : theirs_) streams.push_back(static_cast<cudaStream_t>(stream.handle));
  Contender made{.vectors = vectors, .call = {}, .wait = {}, .row = {}};
  made.call = [this, inputs, outputs, streams, elements = vectors->elements()] {
    nccl_->all_reduce(inputs, outputs, elements, streams);
  };
  made.wait = [this] { wait_for_theirs(); };
  made.row.impl = "nccl";
  made.row.algorithm = "nccl";
  return made;
}

void EagerRig::wait_for_theirs() {
  const auto device = [&](std::size_t r) -> Device& {
    return fabric_->device(Rank(static_cast<std::int32_t>(r)));
  };
  for (std::size_t r = 0; r < theirs_.size(); ++r) device(r).record(ended_[r], theirs_[r]);
  for (std::size_t r = 0; r < theirs_.size(); ++r) {
    spin(timeout_ns_, "NCCL's all_reduce", [&] { return device(r).query(ended_[r]); });
  }
}

}  // namespace weft::bench
