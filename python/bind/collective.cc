#include "python/bind/collective.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "collectives/collectives.h"
#include "python/bind/bucket.h"
#include "python/bind/convert.h"
#include "python/bind/exchange.h"
#include "python/bind/operation.h"

namespace weft::python {
namespace {

using collectives::CallOptions;
using fabric::Fabric;
using fabric::Operation;

// A tensor's producer is ordered before this stream: the rank's user stream, or the default one.
std::int64_t consumer_stream(const std::vector<Stream>& streams, std::size_t rank) {
  return rank < streams.size() ? reinterpret_cast<std::intptr_t>(streams[rank].handle) : 0;
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

// One for each rank: its output, or its input where it gets none; the first of a rank's bucket.
nb::list tensor_of_each(const nb::list& out, const nb::list& tensors) {
  nb::list each;
  for (std::size_t r = 0; r < tensors.size(); ++r) {
    const nb::object given = r >= out.size() || out[r].is_none() ? tensors[r] : out[r];
    const bool is_list = is_tensor_list(given);
    each.append(!is_list ? given : nb::len(given) > 0 ? nb::object(given[0]) : nb::none());
  }
  return each;
}

// The streams that the tensors' libraries work on now, one a rank: what comes next on them follows
// what they have put there, and nothing has to wait. Nothing, unless every rank's library says.
std::optional<std::vector<std::int64_t>> current_streams(const Fabric& fabric,
                                                         const nb::list& tensors) {
  const auto ranks = static_cast<std::size_t>(fabric.world().value());
  if (tensors.size() != ranks) return std::nullopt;
  std::vector<std::int64_t> streams;
  for (std::size_t r = 0; r < ranks; ++r) {
    const nb::object object = tensors[r];
    if (object.is_none() || nb::isinstance<Tensor>(object)) return std::nullopt;
    const ExchangeApi* api = exchange_api(object);
    if (!api) break;
    const int ordinal = fabric.device(Rank(static_cast<int>(r))).id().ordinal.value();
    const auto stream = current_stream(*api, ordinal);
    if (!stream) break;
    streams.push_back(*stream);
  }
  if (streams.size() == ranks) return streams;
  const nb::object current = nb::module_::import_("weft._call").attr("current_streams");
  const nb::object found = call_python(current, nb::make_tuple(tensors), nb::dict());
  return nb::cast<std::optional<std::vector<std::int64_t>>>(found);
}

OperationHandle run_collective(const std::shared_ptr<Fabric>& fabric, const std::string& collective,
                               const nb::list& tensors, const std::optional<nb::list>& out,
                               const nb::dict& arguments,
                               std::optional<std::vector<std::int64_t>> stream_handles) {
  Arguments call;
  read_arguments(collective, arguments, call);
  bool ordered = fabric->backend() != DeviceKind::cuda;
  if (!stream_handles && !ordered) {
    stream_handles = current_streams(*fabric, tensor_of_each(out ? *out : tensors, tensors));
    ordered = stream_handles.has_value();
  }
  const bool given = stream_handles && !ordered;
  call.streams = user_streams(*fabric, stream_handles);
  // Into a capture nothing from outside can be ordered.
  ordered = ordered || (given && fabric->are_capturing(call.streams));
  call.options.streams = call.streams;
  if (tensors.size() > 0 && is_tensor_list(tensors[0])) {
    auto bucket = import_bucket(*fabric, tensors, out, call.streams);
    const nb::gil_scoped_release released;
    return {fabric, collectives::run(*fabric, call.call, std::move(bucket), call.options)};
  }
  const auto imported = [&](const nb::list& list) {
    std::vector<Tensor> result;
    for (std::size_t r = 0; r < list.size(); ++r) {
      const std::int64_t consumer = ordered ? kNoOrdering : consumer_stream(call.streams, r);
      result.push_back(of_rank(collective, r, [&] { return import_member(list[r], consumer); }));
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
      fabric->check_stream(Rank(rank), call.streams.front());
    }
    const std::int64_t consumer = consumer_stream(call.streams, 0);
    mine.is_bucket = is_tensor_list(tensor);
    if (mine.is_bucket) {
      const Stream stream = call.streams.empty() ? Stream{} : call.streams.front();
      mine.inputs = import_list(tensor, stream);
      mine.outputs = out.is(tensor) ? mine.inputs : import_list(out, stream);
    } else {
      mine.input = import_member(tensor, consumer);
      mine.output = out.is(tensor) ? mine.input : import_member(out, consumer);
    }
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

}  // namespace

void bind_collectives(nb::class_<Fabric>& type) {
  const auto of_all = [](const std::shared_ptr<Fabric>& f, const std::string& name,
                         const nb::list& tensors, const std::optional<nb::list>& out,
                         const nb::dict& arguments,
                         std::optional<std::vector<std::int64_t>> streams) {
    return with_devices(
        *f, [&] { return run_collective(f, name, tensors, out, arguments, std::move(streams)); });
  };
  const auto of_one = [](const std::shared_ptr<Fabric>& f, int rank, const std::string& name,
                         nb::handle tensor, nb::handle out, const nb::dict& arguments,
                         std::optional<std::int64_t> stream) {
    return with_devices(
        *f, [&] { return run_rank_collective(f, rank, name, tensor, out, arguments, stream); });
  };
  type.def("collective", of_all, nb::arg("name"), nb::arg("tensors"), nb::arg("out").none(),
           nb::arg("arguments"), nb::arg("streams").none(),
           "Check and launch a collective on all ranks.")
      .def("rank_collective", of_one, nb::arg("rank"), nb::arg("name"), nb::arg("tensor").none(),
           nb::arg("out").none(), nb::arg("arguments"), nb::arg("stream").none(),
           "Meet the other ranks, then the same.")
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
                f, with_devices(*f, [&] {
                  return interruptible([&](const collectives::Interrupted& interrupted) {
                    return collectives::barrier(*f, Rank(rank), ns, interrupted);
                  });
                })};
            wait_ns(handle, ns ? ns : f->timeout_ns());
          },
          nb::arg("rank"), nb::arg("timeout"));
}

}  // namespace weft::python
