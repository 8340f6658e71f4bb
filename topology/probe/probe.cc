// See probe.h.
#include "topology/probe/probe.h"

#include <array>
#include <exception>
#include <map>
#include <utility>

#include "core/base/error.h"
#include "core/base/mutex.h"
#include "core/device/device.h"
#include "topology/probe/machine.h"
#include "topology/probe/verify.h"

namespace weft::topology {
namespace {

constexpr std::int64_t kLeastBytes = std::int64_t{1} << 20;

DeviceId cuda_id(int ordinal) { return {DeviceKind::cuda, DeviceOrdinal(ordinal)}; }

std::string why_no_devices() {
  std::string why_not;
  const int present = driver_device_count(&why_not);
  if (present < 0) return concat("devices: ", why_not);
  if (present == 0) return "devices: the CUDA driver sees none";
  return concat("devices: the CUDA driver sees ", present,
                ", but this build of weft has no CUDA or cannot use them");
}

std::optional<std::string> find_uuid(const NvmlApi* nvml, const std::optional<std::string>& pci) {
  NvmlDevice handle = nullptr;
  std::array<char, 96> text{};
  if (!nvml || !nvml->uuid || !pci || nvml->handle_by_pci(pci->c_str(), &handle) != kNvmlSuccess ||
      nvml->uuid(handle, text.data(), static_cast<unsigned>(text.size())) != kNvmlSuccess) {
    return std::nullopt;
  }
  return std::string(text.data());
}

std::vector<Node> find_nodes(int count, const NvmlApi* nvml, const SystemRoot& root,
                             std::vector<std::string>* notes) {
  std::vector<Node> nodes;
  for (int i = 0; i < count; ++i) {
    Node node{cuda_id(i), device(cuda_id(i)).name(), std::nullopt, driver_pci_address(i)};
    const auto found = node.pci ? read_pci(*node.pci, root) : std::nullopt;
    if (!node.pci) {
      notes->push_back(concat("pci, numa: the driver does not tell the PCI address of cuda:", i));
    } else if (!found || !found->numa) {
      notes->push_back(concat("numa: the system does not tell the node of cuda:", i));
    } else {
      node.numa = found->numa;
    }
    node.uuid = find_uuid(nvml, node.pci);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// Pairs that were tried in this process: one that lied is not asked again.
class KnownChecks {
 public:
  // Of all ordered pairs of `count` devices, those among `ordinals` tried.
  std::vector<PairCheck> among(int count, const std::vector<int>& ordinals) {
    const MutexLock lock(mutex_);
    if (!knows(ordinals)) verify(ordinals);
    std::vector<PairCheck> checks;
    for (int from = 0; from < count; ++from) {
      for (int to = 0; to < count; ++to) {
        const auto found = known_.find({from, to});
        checks.push_back(found == known_.end() ? PairCheck{} : found->second);
      }
    }
    return checks;
  }

 private:
  bool knows(const std::vector<int>& ordinals) const
      WEFT_THREAD_SAFETY(requires_capability(mutex_)) {
    for (const int from : ordinals) {
      for (const int to : ordinals) {
        if (!known_.contains({from, to})) return false;
      }
    }
    return true;
  }
  void verify(const std::vector<int>& ordinals) WEFT_THREAD_SAFETY(requires_capability(mutex_)) {
    std::vector<Device*> devices;
    for (const int ordinal : ordinals) devices.push_back(&device(cuda_id(ordinal)));
    const std::vector<PairCheck> checks = verify_pairs(devices);
    for (std::size_t i = 0; i < checks.size(); ++i) {
      const std::size_t n = ordinals.size();
      known_.insert_or_assign({ordinals[i / n], ordinals[i % n]}, checks[i]);
    }
  }

  Mutex mutex_;
  std::map<std::pair<int, int>, PairCheck> known_ WEFT_THREAD_SAFETY(guarded_by(mutex_));
};

std::vector<PairCheck> checks_of(int count, std::vector<int> ordinals) {
  static auto& known = *new KnownChecks();
  if (ordinals.empty()) {
    for (int i = 0; i < count; ++i) ordinals.push_back(i);
  }
  return known.among(count, ordinals);
}

Topology probe_devices(int count, const ProbeOptions& options, std::vector<std::string> notes) {
  std::string why_not;
  MachineFacts facts;
  facts.nvml = load_nvml(&why_not);
  if (!facts.nvml) notes.push_back(concat("links: ", why_not));
  facts.nodes = find_nodes(count, facts.nvml, facts.root, &notes);
  facts.peers = cuda_peer_attributes(count);
  if (options.verify) facts.checks = checks_of(count, options.only);
  return assemble(std::move(facts), std::move(notes));
}

Topology nothing(std::string note) {
  Topology found("this machine", {}, {});
  found.notes.push_back(std::move(note));
  std::string why_not;
  found.host = read_host(load_nvml(&why_not), {});
  return found;
}

// As large transfers as the devices have memory for.
Measured measure_as_fits(const std::vector<Device*>& devices, PlanInput input, double budget,
                         const Progress& progress) {
  while (true) {
    try {
      const MeasureLimits limits{10, 3 * budget + 15};
      return measure_devices(devices, plan_measurement(input, budget), limits, progress);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::out_of_memory || input.most_bytes <= kLeastBytes) throw;
      input.most_bytes /= 4;
    }
  }
}

}  // namespace

Topology probe(const ProbeOptions& options) {
  try {
    const int count = device_count(DeviceKind::cuda);
    return count == 0 ? nothing(why_no_devices()) : probe_devices(count, options, {});
  } catch (const std::exception& error) {
    return nothing(concat("probe: ", error.what()));
  }
}

Topology measure(const Topology& machine, double budget_seconds, const Progress& progress) {
  if (machine.simulated()) {
    fail(ErrorCode::invalid_argument, "the devices of ", machine.name(),
         " are simulated: their figures are those of the preset, and nothing is there to measure");
  }
  Topology copy = machine;
  if (machine.size() == 0) {
    copy.notes.push_back("measure: there is no CUDA device");
    return copy;
  }
  const double budget = budget_seconds > 0 ? budget_seconds : default_budget(machine.size());
  std::vector<Device*> devices;
  for (int i = 0; i < machine.size(); ++i) devices.push_back(&device(machine.node(i).device));
  Measured measured = measure_as_fits(devices, guess(machine), budget, progress);
  copy = machine.with_measurements(std::move(measured.figures));
  std::erase_if(copy.notes, [](const std::string& note) { return note.ends_with(kMeasureHint); });
  for (std::string& note : measured.notes) copy.notes.push_back(std::move(note));
  copy.notes.push_back(
      concat("measure: took ", measured.seconds, " s, planned ", measured.planned_seconds, " s"));
  return copy;
}

}  // namespace weft::topology
