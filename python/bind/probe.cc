// Probing, verifying and measuring this machine; its counters and what Linux tells of it.
#include "topology/probe/probe.h"

#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/device/device.h"
#include "python/bind/bind.h"
#include "topology/probe/counters.h"
#include "topology/probe/machine.h"
#include "topology/probe/sysfs.h"

namespace weft::python {
namespace {

using topology::Topology;

template <class Value>
nb::object or_none(const std::optional<Value>& value) {
  return value ? nb::cast(*value) : nb::none();
}

// Calls Python between trials: also for nobody, so that Ctrl-C ends a measurement.
topology::Progress progress_of(const nb::object& callable, WithoutGil& without) {
  return [&](double done, const std::string& next) {
    const WithoutGil::Hold held(without);
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!callable.is_none()) call_python(callable, nb::make_tuple(done, next), nb::dict());
  };
}

Topology measure(const Topology& machine, double budget, const nb::object& progress) {
  WithoutGil without;
  return topology::measure(machine, budget, progress_of(progress, without));
}

nb::dict counters() {
  topology::CounterReading reading;
  {
    const nb::gil_scoped_release released;
    reading = topology::read_counters();
  }
  nb::list links;
  for (const topology::LinkCounters& link : reading.links) {
    nb::dict row;
    row["device"] = link.device;
    row["link"] = link.link;
    row["active"] = link.active;
    row["sent_bytes"] = or_none(link.sent_bytes);
    row["received_bytes"] = or_none(link.received_bytes);
    row["replay_errors"] = or_none(link.replay_errors);
    row["recovery_errors"] = or_none(link.recovery_errors);
    row["crc_errors"] = or_none(link.crc_errors);
    links.append(row);
  }
  nb::dict found;
  found["seconds"] = 1e-9 * static_cast<double>(reading.at_ns);
  found["links"] = links;
  found["notes"] = reading.notes;
  return found;
}

nb::dict system_of(const std::string& sysfs, const std::string& proc) {
  const topology::SystemRoot root{sysfs, proc};
  const topology::System system = topology::read_system(root);
  nb::list pci;
  for (const topology::PciDevice& device : topology::list_pci(root)) {
    constexpr const char* kKinds[] = {"gpu", "nvswitch", "nic", "bridge", "other"};
    nb::dict row;
    row["pci"] = device.address;
    row["kind"] = kKinds[static_cast<std::size_t>(device.kind)];
    row["numa"] = or_none(device.numa);
    row["generation"] = or_none(device.generation);
    row["width"] = or_none(device.width);
    row["iommu_group"] = or_none(device.iommu_group);
    row["iommu_type"] = or_none(device.iommu_type);
    row["acs_redirects"] = or_none(device.acs_redirects);
    pci.append(row);
  }
  nb::list nodes;
  for (const topology::NumaNode& node : system.numa_nodes) {
    nb::dict row;
    row["id"] = node.id;
    row["cpus"] = node.cpus;
    nodes.append(row);
  }
  nb::dict found;
  found["cpu"] = or_none(system.cpu);
  found["numa_nodes"] = nodes;
  found["iommu"] = system.iommu ? nb::cast(topology::iommu_name(*system.iommu)) : nb::none();
  found["virtual_machine"] = system.virtual_machine;
  found["has_pci"] = system.has_pci;
  found["pci"] = pci;
  return found;
}

// What NVML says of the driver and of each CUDA device, or why it says nothing.
nb::dict driver_facts() {
  nb::dict found;
  std::string why_not;
  found["devices"] = topology::driver_device_count(&why_not);
  found["why_no_devices"] = why_not;
  const topology::NvmlApi* nvml = topology::load_nvml(&why_not);
  found["why_no_nvml"] = nvml ? std::string() : why_not;
  const topology::Host host = topology::read_host(nvml, {});
  found["driver"] = or_none(host.driver);
  found["cuda"] = or_none(host.cuda);
  nb::list mig;
  for (int i = 0; i < nb::cast<int>(found["devices"]); ++i) {
    const auto address = topology::driver_pci_address(i);
    topology::NvmlDevice device = nullptr;
    unsigned int current = 0, pending = 0;
    const bool told = nvml && nvml->mig_mode && address &&
                      nvml->handle_by_pci(address->c_str(), &device) == topology::kNvmlSuccess &&
                      nvml->mig_mode(device, &current, &pending) == topology::kNvmlSuccess;
    mig.append(told ? nb::cast(current != 0) : nb::none());
  }
  found["mig"] = mig;
  return found;
}

}  // namespace

void bind_probe(nb::module_& module) {
  module.def(
      "topology_probe",
      [](bool verify) {
        const nb::gil_scoped_release released;
        return topology::probe({verify, {}});
      },
      nb::arg("verify") = true,
      "The CUDA devices of this machine. Never raises.\n\n"
      "verify: bytes are moved between them, and pairs that lie are quarantined.");
  module.def("topology_measure", measure, nb::arg("machine"), nb::arg("budget") = 0.0,
             nb::arg("progress").none() = nb::none(),
             "A copy with measurements. progress(done, next) is called between trials.");
  module.def("topology_counters", counters,
             "What NVML counted on each NVLink: seconds, links, notes. Never raises.");
  module.def("topology_system", system_of, nb::arg("sysfs") = "/sys", nb::arg("proc") = "/proc",
             "What Linux tells of the machine. Never raises.");
  module.def("topology_driver", driver_facts, "What the driver and NVML tell. Never raises.");
}

}  // namespace weft::python
