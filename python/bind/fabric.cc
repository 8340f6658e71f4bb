// Fabrics: opening, faults, statistics, events.
//
// Invariants
//   1. The GIL is released in every call that waits, launches or takes a lock of the native
//      library.
#include "fabric/fabric.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "collectives/collectives.h"
#include "core/base/config.h"
#include "core/ops/copy.h"
#include "python/bind/bind.h"
#include "python/bind/collective.h"
#include "python/bind/convert.h"
#include "python/bind/operation.h"
#include "python/bind/tuning.h"
#include "topology/probe/probe.h"

namespace weft::python {
namespace {

using fabric::Fabric;

using Released = nb::call_guard<nb::gil_scoped_release>;

// The machine of a fabric that was given none: a preset for simulated devices, the probed one for
// CUDA.
topology::Topology default_topology(const std::vector<DeviceId>& devices) {
  std::vector<DeviceId> distinct;
  for (const DeviceId& id : devices) {
    if (std::find(distinct.begin(), distinct.end(), id) == distinct.end()) distinct.push_back(id);
  }
  if (!devices.empty() && devices.front().kind == DeviceKind::cuda) {
    topology::ProbeOptions options;
    for (const DeviceId& id : distinct) options.only.push_back(id.ordinal.value());
    options.verify = distinct.size() > 1;
    return topology::probe(options);
  }
  return topology::preset(config().sim_topology, static_cast<int>(distinct.size()));
}

// Closing waits for what is in flight, and that may need the GIL (a foreign tensor's deleter). Only
// Python objects hold the result, so its last reference goes with the GIL held.
std::shared_ptr<Fabric> without_gil_at_the_end(std::shared_ptr<Fabric> fabric) {
  Fabric* pointer = fabric.get();
  return {pointer, [fabric = std::move(fabric)](Fabric*) mutable {
            const nb::gil_scoped_release released;
            fabric.reset();
          }};
}

std::shared_ptr<Fabric> open(const std::vector<std::string>& names, double timeout,
                             const topology::Topology* topology, std::int64_t scratch,
                             std::uint32_t first_epoch, std::optional<bool> events) {
  const nb::gil_scoped_release released;
  fabric::FabricOptions options;
  std::vector<DeviceId> ids;
  for (const std::string& name : names) {
    ids.push_back(DeviceId::parse(name));
    options.devices.push_back(&device(ids.back()));
  }
  options.topology = topology ? *topology : default_topology(ids);
  options.timeout_seconds = timeout;
  options.scratch = Bytes(scratch);
  options.first_epoch = first_epoch;
  options.events = events;
  return without_gil_at_the_end(collectives::open(std::move(options)));
}

std::vector<std::string> device_names(const Fabric& fabric) {
  std::vector<std::string> names;
  for (int r = 0; r < fabric.world().value(); ++r)
    names.push_back(fabric.device(Rank(r)).id().str());
  return names;
}

std::vector<std::vector<bool>> peer_access(const Fabric& fabric) {
  std::vector<std::vector<bool>> rows;
  for (int i = 0; i < fabric.world().value(); ++i) {
    std::vector<bool> row;
    for (int j = 0; j < fabric.world().value(); ++j)
      row.push_back(fabric.peer_access(Rank(i), Rank(j)));
    rows.push_back(std::move(row));
  }
  return rows;
}

// The device of some rank, or host memory.
void check_member(const Fabric& fabric, const char* what, const Tensor& tensor) {
  const DeviceId id = tensor.device();
  bool member = id.kind == DeviceKind::cpu;
  for (int r = 0; r < fabric.world().value(); ++r) {
    member = member || fabric.device(Rank(r)).id() == id;
  }
  if (member) return;
  throw Error(ErrorCode::device_mismatch,
              concat("copy: the ", what, " is on ", id.str(), ", and no rank is"),
              {.device = id.str()});
}

void copy(Fabric& fabric, nb::handle from, nb::handle to) {
  {
    // Who has the launch lock may drop a foreign tensor, and that needs the GIL.
    const nb::gil_scoped_release released;
    fabric.check_usable();
    if (fabric.capturing()) {
      fail(ErrorCode::invalid_argument,
           "copy is done at once and not recorded: it cannot be asked for during a capture");
    }
  }
  const Tensor source = import_tensor(from, 0, Alignment::any);
  const Tensor target = import_tensor(to, 0, Alignment::any);
  check_member(fabric, "source", source);
  check_member(fabric, "target", target);
  const nb::gil_scoped_release released;
  copy_tensor(target, source);
}

void plan_fault(Fabric& fabric, int rank, int step, const std::string& action, double delay) {
  collectives::FaultPoint fault;
  using Action = collectives::FaultPoint::Action;
  if (action == "stop") {
    fault.action = Action::stop;
  } else if (action == "delay") {
    fault.action = Action::delay;
  } else if (action != "none") {
    fail(ErrorCode::invalid_argument, "a fault is none, stop or delay, not \"", action, "\"");
  }
  fault.rank = rank;
  fault.step = step;
  fault.delay_ns = seconds_to_ns(delay);
  collectives::plan_fault(fabric, fault);
}

nb::dict kind_row(const fabric::KindTotals& totals) {
  const auto percentile = [&](double share) {
    return totals.operations == 0 ? nb::object(nb::none())
                                  : nb::cast(totals.times.percentile(share) * 1e-3);
  };
  nb::dict row;
  row["kind"] = totals.kind;
  row["algorithm"] = totals.algorithm;
  row["operations"] = totals.operations;
  row["failed"] = totals.failed;
  row["bytes"] = totals.bytes;
  row["host_seconds"] = totals.seconds;
  row["p50_us"] = percentile(0.5);
  row["p99_us"] = percentile(0.99);
  return row;
}

nb::dict stats_of(Fabric& fabric) {
  fabric::StatsSnapshot totals;
  {
    const nb::gil_scoped_release released;
    fabric.notice_ended();
    totals = fabric.stats().snapshot();
  }
  const bool simulated = fabric.backend() == DeviceKind::sim;
  nb::dict row;
  row["operations"] = totals.operations;
  row["empty"] = totals.empty;
  row["failed"] = totals.failed;
  row["bytes"] = totals.bytes;
  row["seconds"] = simulated ? totals.predicted_seconds : totals.seconds;
  row["predicted"] = simulated;
  row["host_seconds"] = totals.seconds;
  row["in_flight"] = totals.in_flight;
  row["peak_in_flight"] = totals.peak_in_flight;
  nb::dict staged;
  staged["tensors"] = totals.staged_tensors;
  staged["bytes"] = totals.staged_bytes;
  row["staged"] = staged;
  const std::uint64_t events = fabric.events().recorded();
  row["events_recorded"] = events;
  row["events_dropped"] = events - std::min(events, EventRing::kCapacity);
  row["ranks"] = nb::cast(totals.rank_operations);
  nb::dict links;
  const auto world = static_cast<std::size_t>(fabric.world().value());
  for (std::size_t i = 0; i < totals.link_bytes.size(); ++i) {
    if (totals.link_bytes[i] == 0) continue;
    links[concat(i / world, "->", i % world).c_str()] = totals.link_bytes[i];
  }
  row["links"] = links;
  nb::list kinds;
  for (const fabric::KindTotals& totals_of : totals.kinds) kinds.append(kind_row(totals_of));
  row["kinds"] = kinds;
  nb::dict errors;
  for (const fabric::ErrorCount& one : totals.errors) errors[error_name(one.code)] = one.count;
  row["errors"] = errors;
  return row;
}

nb::tuple events_of(Fabric& fabric) {
  EventRing::Snapshot snapshot;
  {
    const nb::gil_scoped_release released;
    snapshot = fabric.events().snapshot();
  }
  const nb::bytes records(snapshot.events.data(), snapshot.events.size() * sizeof(EventRecord));
  return nb::make_tuple(records, snapshot.base_seq, snapshot.next_seq);
}

}  // namespace

void bind_fabric(nb::module_& module) {
  bind_operation(module);
  nb::class_<Fabric> type(module, "Fabric", "Ranks bound to devices. Wrapped by weft.Fabric.");
  type.def(nb::new_(&open), nb::arg("devices"), nb::arg("timeout") = 30.0,
           nb::arg("topology").none() = nb::none(), nb::arg("scratch") = 0,
           nb::arg("first_epoch") = 0, nb::arg("events").none() = nb::none())
      .def_prop_ro("size", [](const Fabric& f) { return f.world().value(); })
      .def_prop_ro("devices", device_names)
      .def_prop_ro("backend",
                   [](const Fabric& f) { return f.backend() == DeviceKind::cuda ? "cuda" : "sim"; })
      .def_prop_ro("topology", [](const Fabric& f) { return f.topology(); })
      .def_prop_ro("records_events", &Fabric::records_events)
      .def_prop_ro("closed", &Fabric::closed, Released())
      .def("peer_access", peer_access)
      .def("copy", copy, nb::arg("src").none(), nb::arg("dst").none())
      .def("plan_fault", plan_fault, nb::arg("rank"), nb::arg("step"), nb::arg("action"),
           nb::arg("delay") = 0.0, "Tests: the fault that the next operations meet.")
      .def(
          "abort", [](Fabric& f) { f.abort("abort() was called"); }, Released())
      .def("check", &Fabric::check, Released())
      .def("recover", &Fabric::recover, Released())
      .def("close", &Fabric::close, Released())
      .def("stats", stats_of)
      .def(
          "reset_stats", [](Fabric& f) { f.stats().reset(); }, Released())
      .def_prop_ro("poison_cause", &Fabric::poison_cause, Released())
      .def("events", events_of);
  bind_graph(module, type);
  bind_collectives(type);
  bind_chunks(type);
  bind_tuning(module, type);
}

}  // namespace weft::python
