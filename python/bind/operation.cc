#include "python/bind/operation.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>

#include "collectives/collectives.h"

namespace weft::python {
namespace {

using fabric::Fabric;

constexpr double kLongestTimeout = 1e9;  // seconds

void wait(OperationHandle& handle, std::optional<double> timeout) {
  wait_ns(handle, timeout ? timeout_ns(*timeout) : 0);
}

void raise_interruption(OperationHandle& handle) {
  if (!handle.interruption) return;
  const nb::python_error error = *handle.interruption;
  handle.interruption.reset();
  throw error;
}

[[noreturn]] void fail_unended(fabric::Operation& operation, std::int64_t waited_ns, bool aborted) {
  std::vector<int> ranks = operation.unfinished();
  std::string list;
  for (const int rank : ranks) list += concat(list.empty() ? "" : ", ", rank);
  throw Error(ErrorCode::collective_timeout,
              concat(operation.info().kind_name, " #", operation.id(), " has not ended on rank(s) ",
                     list, " after ", static_cast<double>(waited_ns) * 1e-9, " s of waiting",
                     aborted ? "; it was aborted, or a fault ended it on other ranks" : ""),
              {.culprits = std::move(ranks)});
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

// A graph keeps its fabric.
struct GraphHandle {
  std::shared_ptr<Fabric> fabric;
  std::shared_ptr<fabric::Graph> graph;
};

OperationHandle replay(const GraphHandle& handle, bool timed,
                       const std::optional<std::vector<std::int64_t>>& stream_handles) {
  const std::vector<Stream> streams = user_streams(*handle.fabric, stream_handles);
  if (stream_handles && handle.fabric->are_capturing(streams)) {
    fail(ErrorCode::invalid_argument, "a graph cannot be replayed into a capture");
  }
  return with_devices(*handle.fabric, [&]() -> OperationHandle {
    const nb::gil_scoped_release released;
    return {handle.fabric, handle.fabric->replay(handle.graph, streams, timed)};
  });
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

}  // namespace

std::int64_t timeout_ns(double seconds) {
  if (seconds < 0) return 0;
  if (!std::isfinite(seconds) || seconds == 0 || seconds > kLongestTimeout) {
    fail(ErrorCode::invalid_argument, "timeout is seconds, above 0 and at most ", kLongestTimeout,
         ", not ", seconds);
  }
  return std::max<std::int64_t>(1, seconds_to_ns(seconds));
}

void wait_ns(OperationHandle& handle, std::int64_t limit_ns) {
  if (handle.interruption) {
    handle.fabric->abort("interrupted while it was launched");
    raise_interruption(handle);
  }
  fabric::Operation& operation = *handle.operation;
  const std::int64_t start = now_ns();
  Interruption interruption;
  std::optional<Error> error;
  bool ended;
  {
    WithoutGil without;
    interruption.within(without);
    const Deadline deadline = limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
    ended = operation.wait(deadline, interruption);
    if (ended) error = operation.error();
  }
  if (error) throw located(*handle.fabric, *error);
  if (ended) return;
  if (interruption) {
    handle.fabric->abort("interrupted while waiting");
    interruption.raise();
  }
  fail_unended(operation, now_ns() - start, handle.fabric->is_aborted());
}

Error located(const Fabric& fabric, const Error& error) {
  ErrorContext context = error.context();
  const bool has_rank =
      context.rank && *context.rank >= 0 && *context.rank < fabric.world().value();
  if (!has_rank || context.device) return error;
  context.device = fabric.device(Rank(*context.rank)).id().str();
  return Error(error.code(), error.message(), std::move(context));
}

std::vector<Stream> user_streams(const Fabric& fabric,
                                 const std::optional<std::vector<std::int64_t>>& handles) {
  std::vector<Stream> streams;
  if (handles) {
    for (const std::int64_t handle : *handles) {
      streams.push_back({reinterpret_cast<void*>(static_cast<std::intptr_t>(handle))});
    }
    fabric.check_streams(streams);
  } else if (fabric.backend() == DeviceKind::cuda) {
    streams.resize(static_cast<std::size_t>(fabric.world().value()));  // the default stream
  }
  return streams;
}

void bind_graph(nb::module_& module, nb::class_<Fabric>& type) {
  nb::class_<GraphHandle>(module, "RecordedGraph", "What a fabric recorded. Wrapped by weft.Graph.")
      .def("replay", replay, nb::arg("timed"), nb::arg("streams").none(),
           "Run it; the operation is the whole of it.")
      .def_prop_ro("operations", graph_operations)
      .def_prop_ro("elapsed_us",
                   [](const GraphHandle& handle) { return handle.graph->elapsed_us(); });
  using Released = nb::call_guard<nb::gil_scoped_release>;
  type.def("begin_capture", &Fabric::begin_capture, nb::arg("token"), Released())
      .def("end_capture", end_capture)
      .def("drop_capture", &Fabric::drop_capture, nb::arg("token"), Released());
}

void bind_operation(nb::module_& module) {
  nb::class_<OperationHandle>(module, "Operation", "An operation that was launched.")
      .def("wait", wait, nb::arg("timeout").none() = nb::none(),
           "Block until it ended on every rank; raise what it ended with. Ctrl-C aborts it.")
      .def("raise_interruption", raise_interruption,
           "Raise what came up while it was launched: Ctrl-C, or what a signal's handler raised.")
      .def(
          "done", [](const OperationHandle& h) { return h.operation->done(); },
          nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("decided", [](const OperationHandle& h) { return h.operation->decided(); })
      .def_prop_ro(
          "recorded_for", [](const OperationHandle& h) { return h.operation->recorded_for(); },
          "The token of the capture that it was recorded for; 0 where it was launched.")
      .def("exception",
           [](const OperationHandle& h) -> nb::object {
             std::optional<Error> error;
             {
               const nb::gil_scoped_release released;
               error = h.operation->error();
             }
             return error ? exception_of(located(*h.fabric, *error)) : nb::none();
           })
      .def(
          "watch", [](const OperationHandle& h) { h.fabric->watch(h.operation); },
          nb::call_guard<nb::gil_scoped_release>(),
          "Leave it to the watchdog: its faults poison the fabric without a wait.")
      .def_prop_ro("info", info_of);
}

}  // namespace weft::python
