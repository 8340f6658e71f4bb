// Fabrics and operations.
//
// Invariants
//   1. The GIL is released in every call that waits, launches or takes a lock of the native
//      library.
//   2. A wait wakes up now and then to see Ctrl-C: an interrupted wait aborts the operation.
#include "fabric/fabric.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>

#include "collectives/collectives.h"
#include "core/base/config.h"
#include "core/ops/copy.h"
#include "python/bind/bind.h"
#include "python/bind/convert.h"

namespace weft::python {
namespace {

using collectives::CallOptions;
using fabric::Fabric;
using fabric::Operation;

constexpr std::int64_t kSignalInterval = 50'000'000;  // ns between two looks for Ctrl-C
constexpr double kLongestTimeout = 1e9;               // seconds
constexpr std::int64_t kNoOrdering = -1;              // __dlpack__'s stream: nothing has to wait

using Released = nb::call_guard<nb::gil_scoped_release>;

// An operation keeps its fabric.
struct OperationHandle {
  std::shared_ptr<Fabric> fabric;
  std::shared_ptr<Operation> operation;
};

std::int64_t timeout_ns(double seconds) {
  if (seconds < 0) return 0;
  if (!std::isfinite(seconds) || seconds == 0 || seconds > kLongestTimeout) {
    fail(ErrorCode::invalid_argument, "timeout is seconds, finite and greater than 0, not ",
         seconds);
  }
  return std::max<std::int64_t>(1, seconds_to_ns(seconds));
}

// Waits at most `limit_ns`; 0: for as long as it takes.
void wait_ns(const OperationHandle& handle, std::int64_t limit_ns) {
  const Deadline deadline = limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
  while (true) {
    bool ended;
    {
      const nb::gil_scoped_release released;
      const std::int64_t slice =
          std::min(kSignalInterval, std::max<std::int64_t>(0, deadline.left_ns()));
      ended = handle.operation->wait_until(Deadline::after_ns(slice));
    }
    if (ended) break;
    if (PyErr_CheckSignals() != 0) {
      handle.fabric->abort("interrupted while waiting");
      throw nb::python_error();
    }
    if (deadline.passed()) {
      fail(ErrorCode::collective_timeout, handle.operation->info().kind_name, " #",
           handle.operation->id(), " has not ended after ", static_cast<double>(limit_ns) * 1e-9,
           " s of waiting");
    }
  }
  if (const auto error = handle.operation->error()) throw *error;
}

void wait(const OperationHandle& handle, std::optional<double> timeout) {
  wait_ns(handle, timeout ? timeout_ns(*timeout) : 0);
}

// Calls f(interrupted) without the GIL; a rank that waits in it looks for Ctrl-C now and then.
template <class F>
auto interruptible(const F& f) {
  bool signalled = false;
  const auto interrupted = [&] {
    const nb::gil_scoped_acquire acquired;
    signalled = signalled || PyErr_CheckSignals() != 0;
    return signalled;
  };
  try {
    const nb::gil_scoped_release released;
    return f(interrupted);
  } catch (const Error&) {
    if (!signalled) throw;
  }
  throw nb::python_error();
}

nb::dict info_of(const OperationHandle& handle) {
  const fabric::OperationInfo& info = handle.operation->info();
  nb::dict row;
  row["kind"] = info.kind_name;
  row["algorithm"] = info.algorithm;
  row["protocol"] = info.protocol == 255 ? "" : collectives::kProtocolNames[info.protocol];
  row["path"] = info.path;
  row["bytes"] = info.bytes;
  row["blocks"] = info.blocks;
  row["scratch_bytes"] = handle.fabric->arena(Rank(0)).layout.scratch_bytes;
  row["predicted_seconds"] =
      info.predicted_ns < 0 ? nb::none() : nb::cast(static_cast<double>(info.predicted_ns) * 1e-9);
  return row;
}

// The machine of a fabric that was given none: a preset for simulated devices, the probed one for
// CUDA.
topology::Topology default_topology(const std::vector<DeviceId>& devices) {
  std::vector<DeviceId> distinct;
  for (const DeviceId& id : devices) {
    if (std::find(distinct.begin(), distinct.end(), id) == distinct.end()) distinct.push_back(id);
  }
  if (!devices.empty() && devices.front().kind == DeviceKind::cuda) return topology::probe();
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
                             std::uint32_t first_epoch) {
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

// A tensor's producer is ordered before this stream: the rank's user stream, or the default one.
std::int64_t consumer_stream(const std::vector<Stream>& streams, std::size_t rank) {
  return rank < streams.size() ? reinterpret_cast<std::intptr_t>(streams[rank].handle) : 0;
}

std::vector<Stream> user_streams(const Fabric& fabric,
                                 const std::optional<std::vector<std::int64_t>>& handles) {
  std::vector<Stream> streams;
  if (handles) {
    for (const std::int64_t handle : *handles) {
      streams.push_back({reinterpret_cast<void*>(static_cast<std::intptr_t>(handle))});
    }
  } else if (fabric.backend() == DeviceKind::cuda) {
    streams.resize(static_cast<std::size_t>(fabric.world().value()));  // the default stream
  }
  return streams;
}

// The arguments of any collective beside the tensors, as Python gives them.
struct Arguments {
  collectives::Call call;
  CallOptions options;
  std::vector<Rank> to;
  std::vector<std::int64_t> splits;
  std::vector<Stream> streams;
};

std::int64_t integer(const nb::dict& arguments, const char* key) {
  return nb::cast<std::int64_t>(arguments[key]);
}

// `arguments` is made by weft._call.arguments; a key that is missing has its default.
void read_arguments(const std::string& collective, const nb::dict& arguments, Arguments& result) {
  collectives::Call& call = result.call;
  call.collective = collectives::parse_collective(collective);
  CallOptions& options = result.options;
  options.algorithm = collectives::parse_algorithm(nb::cast<std::string>(arguments["algorithm"]));
  options.max_blocks = static_cast<std::int32_t>(integer(arguments, "max_blocks"));
  options.timeout_ns = timeout_ns(nb::cast<double>(arguments["timeout"]));
  options.deterministic = nb::cast<bool>(arguments["deterministic"]);
  if (arguments.contains("group_size")) {
    options.group_size = static_cast<std::int32_t>(integer(arguments, "group_size"));
  }
  if (arguments.contains("op")) {
    call.op = collectives::parse_op(nb::cast<std::string>(arguments["op"]));
  }
  if (arguments.contains("root")) {
    call.root = Rank(static_cast<std::int32_t>(integer(arguments, "root")));
  }
  if (arguments.contains("to")) {
    for (const auto rank : nb::cast<std::vector<std::int32_t>>(arguments["to"])) {
      result.to.push_back(Rank(rank));
    }
  }
  if (arguments.contains("splits")) {
    result.splits = nb::cast<std::vector<std::int64_t>>(arguments["splits"]);
  }
  call.to = result.to;
  call.splits = result.splits;
}

// None is an undefined tensor: of a rank that gives or gets nothing.
Tensor import_member(nb::handle object, std::int64_t consumer) {
  return object.is_none() ? Tensor() : import_tensor(object, consumer, Alignment::any);
}

OperationHandle run_collective(const std::shared_ptr<Fabric>& fabric, const std::string& collective,
                               const nb::list& tensors, const std::optional<nb::list>& out,
                               const nb::dict& arguments,
                               const std::optional<std::vector<std::int64_t>>& stream_handles,
                               bool ordered) {
  Arguments call;
  read_arguments(collective, arguments, call);
  call.streams = user_streams(*fabric, stream_handles);
  call.options.streams = call.streams;
  const auto imported = [&](const nb::list& list) {
    std::vector<Tensor> result;
    for (std::size_t r = 0; r < list.size(); ++r) {
      const std::int64_t consumer = ordered ? kNoOrdering : consumer_stream(call.streams, r);
      result.push_back(import_member(list[r], consumer));
    }
    return result;
  };
  const std::vector<Tensor> inputs = imported(tensors);
  const std::vector<Tensor> outputs = out ? imported(*out) : inputs;
  const nb::gil_scoped_release released;
  return {fabric, collectives::run(*fabric, call.call, inputs, outputs, call.options)};
}

// A rank whose arguments are refused comes to the meeting all the same, so that the others hear of
// it instead of waiting for it.
[[noreturn]] void refuse_all(const std::shared_ptr<Fabric>& fabric, int rank,
                             const std::string& collective, double timeout, const Error& refusal) {
  const std::int64_t ns = timeout > 0 ? timeout_ns(timeout) : fabric->timeout_ns();
  const char* what = collectives::name(collectives::parse_collective(collective));
  interruptible([&](const collectives::Interrupted& interrupted) {
    const auto never = [](const std::vector<const void*>&) -> std::shared_ptr<Operation> {
      return nullptr;
    };
    fabric::Rendezvous::Arrival arrival{Rank(rank), what, &rank, Deadline::after_ns(ns)};
    arrival.refusal = &refusal;
    return fabric->meet(arrival, never, interrupted);
  });
  throw refusal;
}

OperationHandle run_rank_collective(const std::shared_ptr<Fabric>& fabric, int rank,
                                    const std::string& collective, nb::handle tensor,
                                    nb::handle out, const nb::dict& arguments,
                                    std::optional<std::int64_t> stream_handle) {
  Arguments call;
  collectives::RankCall mine;
  try {
    read_arguments(collective, arguments, call);
    if (stream_handle || fabric->backend() == DeviceKind::cuda) {
      const auto handle = static_cast<std::intptr_t>(stream_handle.value_or(0));
      call.streams.push_back({reinterpret_cast<void*>(handle)});
    }
    const std::int64_t consumer = consumer_stream(call.streams, 0);
    mine.input = import_member(tensor, consumer);
    mine.output = out.is(tensor) ? mine.input : import_member(out, consumer);
  } catch (const Error& error) {
    ErrorContext context = error.context();
    context.rank = rank;
    refuse_all(fabric, rank, collective, nb::cast<double>(arguments["timeout"]),
               Error(error.code(), concat("rank ", rank, ": ", error.message()), context));
  }
  mine.call = call.call;
  call.options.streams = call.streams;
  return {fabric, interruptible([&](const collectives::Interrupted& interrupted) {
            return collectives::run(*fabric, Rank(rank), mine, call.options, interrupted);
          })};
}

void copy(Fabric& fabric, nb::handle from, nb::handle to) {
  fabric.check_usable();
  const Tensor source = import_tensor(from, 0, Alignment::any);
  const Tensor target = import_tensor(to, 0, Alignment::any);
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

nb::dict stats_of(Fabric& fabric) {
  const fabric::StatsSnapshot totals = fabric.stats().snapshot();
  const bool simulated = fabric.backend() == DeviceKind::sim;
  nb::dict row;
  row["operations"] = totals.operations;
  row["empty"] = totals.empty;
  row["failed"] = totals.failed;
  row["bytes"] = totals.bytes;
  row["seconds"] = simulated ? totals.predicted_seconds : totals.seconds;
  row["predicted"] = simulated;
  row["host_seconds"] = totals.seconds;
  row["ranks"] = nb::cast(totals.rank_operations);
  nb::dict links;
  const auto world = static_cast<std::size_t>(fabric.world().value());
  for (std::size_t i = 0; i < totals.link_bytes.size(); ++i) {
    if (totals.link_bytes[i] == 0) continue;
    links[concat(i / world, "->", i % world).c_str()] = totals.link_bytes[i];
  }
  row["links"] = links;
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

// A graph keeps its fabric.
struct GraphHandle {
  std::shared_ptr<Fabric> fabric;
  std::shared_ptr<fabric::Graph> graph;
};

OperationHandle replay(const GraphHandle& handle, bool timed) {
  const std::vector<Stream> streams = user_streams(*handle.fabric, std::nullopt);
  const nb::gil_scoped_release released;
  return {handle.fabric, handle.fabric->replay(handle.graph, streams, timed)};
}

GraphHandle end_capture(const std::shared_ptr<Fabric>& fabric) {
  const nb::gil_scoped_release released;
  return {fabric, fabric->end_capture()};
}

nb::list graph_operations(const GraphHandle& handle) {
  nb::list all;
  for (const auto& operation : handle.graph->operations()) {
    all.append(info_of({handle.fabric, operation}));
  }
  return all;
}

void bind_graph(nb::module_& module) {
  nb::class_<GraphHandle>(module, "RecordedGraph", "What a fabric recorded. Wrapped by weft.Graph.")
      .def("replay", replay, nb::arg("timed"), "Run it; the operation is the whole of it.")
      .def_prop_ro("operations", graph_operations)
      .def_prop_ro("elapsed_us",
                   [](const GraphHandle& handle) { return handle.graph->elapsed_us(); });
}

void bind_operation(nb::module_& module) {
  nb::class_<OperationHandle>(module, "Operation", "An operation that was launched.")
      .def("wait", wait, nb::arg("timeout").none() = nb::none(),
           "Block until it ended on every rank; raise what it ended with. Ctrl-C aborts it.")
      .def(
          "done", [](const OperationHandle& h) { return h.operation->done(); },
          nb::call_guard<nb::gil_scoped_release>())
      .def("exception",
           [](const OperationHandle& h) -> nb::object {
             std::optional<Error> error;
             {
               const nb::gil_scoped_release released;
               error = h.operation->error();
             }
             return error ? exception_of(*error) : nb::none();
           })
      .def(
          "watch", [](const OperationHandle& h) { h.fabric->watch(h.operation); }, Released(),
          "Leave it to the watchdog: its faults poison the fabric without a wait.")
      .def_prop_ro("info", info_of);
}

}  // namespace

void bind_fabric(nb::module_& module) {
  bind_operation(module);
  bind_graph(module);
  nb::class_<Fabric>(module, "Fabric", "Ranks bound to devices. Wrapped by weft.Fabric.")
      .def(nb::new_(&open), nb::arg("devices"), nb::arg("timeout") = 30.0,
           nb::arg("topology").none() = nb::none(), nb::arg("scratch") = 0,
           nb::arg("first_epoch") = 0)
      .def_prop_ro("size", [](const Fabric& f) { return f.world().value(); })
      .def_prop_ro("devices", device_names)
      .def_prop_ro("backend",
                   [](const Fabric& f) { return f.backend() == DeviceKind::cuda ? "cuda" : "sim"; })
      .def_prop_ro("topology", [](const Fabric& f) { return f.topology(); })
      .def_prop_ro("closed", &Fabric::closed, Released())
      .def("peer_access", peer_access)
      .def("collective", run_collective, nb::arg("name"), nb::arg("tensors"), nb::arg("out").none(),
           nb::arg("arguments"), nb::arg("streams").none(), nb::arg("ordered"),
           "Check and launch a collective on all ranks.")
      .def("rank_collective", run_rank_collective, nb::arg("rank"), nb::arg("name"),
           nb::arg("tensor").none(), nb::arg("out").none(), nb::arg("arguments"),
           nb::arg("stream").none(), "Meet the other ranks, then the same.")
      .def("begin_capture", &Fabric::begin_capture, Released())
      .def("end_capture", end_capture)
      .def("drop_capture", &Fabric::drop_capture, Released())
      .def("copy", copy, nb::arg("src"), nb::arg("dst"))
      .def(
          "barrier",
          [](const std::shared_ptr<Fabric>& f, double timeout) {
            OperationHandle handle{f, nullptr};
            const std::int64_t ns = timeout_ns(timeout);
            {
              const nb::gil_scoped_release released;
              handle.operation = collectives::barrier(*f);
            }
            wait_ns(handle, ns ? ns : f->timeout_ns());
          },
          nb::arg("timeout"))
      .def(
          "rank_barrier",
          [](const std::shared_ptr<Fabric>& f, int rank, double timeout) {
            const std::int64_t ns = timeout_ns(timeout);
            const OperationHandle handle{
                f, interruptible([&](const collectives::Interrupted& interrupted) {
                  return collectives::barrier(*f, Rank(rank), ns, interrupted);
                })};
            wait_ns(handle, ns ? ns : f->timeout_ns());
          },
          nb::arg("rank"), nb::arg("timeout"))
      .def("plan_fault", plan_fault, nb::arg("rank"), nb::arg("step"), nb::arg("action"),
           nb::arg("delay") = 0.0, "Tests: the fault that the next operations meet.")
      .def(
          "abort", [](Fabric& f) { f.abort("abort() was called"); }, Released())
      .def("recover", &Fabric::recover, Released())
      .def("close", &Fabric::close, Released())
      .def("stats", stats_of)
      .def("reset_stats", [](Fabric& f) { f.stats().reset(); })
      .def("events", events_of);
}

}  // namespace weft::python
