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
// what these libraries have put there, and for that nothing has to wait. Nothing, unless every
// rank's library says.
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

// Are both tensors of one library, whose current stream is theirs?
bool are_of_one_library(nb::handle a, nb::handle b) {
  if (Py_TYPE(a.ptr()) == Py_TYPE(b.ptr())) return true;
  const ExchangeApi* api = exchange_api(a);
  return api && api == exchange_api(b);
}

// How tensors are imported that a collective on these streams gets.
class Importer {
 public:
  // `current`: the libraries of these tensors, one a rank, work on the streams now. `chosen`: the
  // streams are not the default ones, and may be captured.
  Importer(const std::string& collective, const Fabric& fabric, const std::vector<Stream>& streams,
           const nb::list* current, bool chosen)
      : collective_(collective), fabric_(fabric), streams_(streams), current_(current) {
    if (!chosen) capturing_ = false;
  }

  std::vector<Tensor> tensors_of(const nb::list& list) const {
    std::vector<Tensor> result;
    for (std::size_t r = 0; r < list.size(); ++r) {
      const nb::object object = list[r];
      result.push_back(
          of_rank(collective_, r, [&] { return import_member(object, consumer_of(object, r)); }));
    }
    return result;
  }

 private:
  std::int64_t consumer_of(const nb::object& object, std::size_t rank) const {
    if (fabric_.backend() != DeviceKind::cuda || object.is_none()) return kNoOrdering;
    const bool known = current_ && rank < current_->size();
    if (known && are_of_one_library(object, (*current_)[rank])) return kNoOrdering;
    // Into a capture nothing from outside can be ordered.
    if (!capturing_) capturing_ = fabric_.are_capturing(streams_);
    return *capturing_ ? kNoOrdering : consumer_stream(streams_, rank);
  }

  const std::string& collective_;
  const Fabric& fabric_;
  const std::vector<Stream>& streams_;
  const nb::list* current_;
  mutable std::optional<bool> capturing_{};
};

OperationHandle run_collective(const std::shared_ptr<Fabric>& fabric, const std::string& collective,
                               const nb::list& tensors, const std::optional<nb::list>& out,
                               const nb::dict& arguments,
                               std::optional<std::vector<std::int64_t>> stream_handles) {
  Arguments call;
  read_arguments(collective, arguments, call);
  std::optional<nb::list> current;
  if (!stream_handles && fabric->backend() == DeviceKind::cuda) {
    nb::list each = tensor_of_each(out ? *out : tensors, tensors);
    stream_handles = current_streams(*fabric, each);
    if (stream_handles) current = std::move(each);
  }
  call.streams = user_streams(*fabric, stream_handles);
  call.options.streams = call.streams;
  if (tensors.size() > 0 && is_tensor_list(tensors[0])) {
    auto bucket = import_bucket(*fabric, tensors, out, call.streams);
    return interruptible(fabric, [&](const collectives::Interrupted& interrupted) {
      call.options.interrupted = interrupted;
      return collectives::run(*fabric, call.call, std::move(bucket), call.options);
    });
  }
  const Importer importer(collective, *fabric, call.streams, current ? &*current : nullptr,
                          stream_handles.has_value());
  const std::vector<Tensor> inputs = importer.tensors_of(tensors);
  const std::vector<Tensor> outputs = out ? importer.tensors_of(*out) : inputs;
  return interruptible(fabric, [&](const collectives::Interrupted& interrupted) {
    call.options.interrupted = interrupted;
    return collectives::run(*fabric, call.call, inputs, outputs, call.options);
  });
}

// A rank that cannot take part tells the others, so that they need not wait for it. Returns what
// they hear.
Error tell_others(Fabric& fabric, int rank, const Error& error) {
  ErrorContext context = error.context();
  context.rank = rank;
  const Error told(error.code(), concat("rank ", rank, ": ", error.message()), std::move(context));
  const nb::gil_scoped_release released;
  fabric.refuse(Rank(rank), told);
  return told;
}

void refuse(const std::shared_ptr<Fabric>& fabric, int rank, nb::handle exception) {
  tell_others(*fabric, rank, error_of(exception));
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
    throw tell_others(*fabric, rank, error);
  } catch (const nb::python_error& error) {
    tell_others(*fabric, rank, error_of(error.value()));
    throw;
  } catch (...) {
    tell_others(*fabric, rank, current_error());
    throw;
  }
  mine.call = call.call;
  call.options.streams = call.streams;
  return interruptible(fabric, [&](const collectives::Interrupted& interrupted) {
    return collectives::run(*fabric, Rank(rank), mine, call.options, interrupted);
  });
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
      .def("current_streams", current_streams, nb::arg("tensors"),
           "The streams that the libraries of these tensors, one a rank, work on now.")
      .def("rank_collective", of_one, nb::arg("rank"), nb::arg("name"), nb::arg("tensor").none(),
           nb::arg("out").none(), nb::arg("arguments"), nb::arg("stream").none(),
           "Meet the other ranks, then the same.")
      .def("refuse", refuse, nb::arg("rank"), nb::arg("exception"),
           "Instead of meeting them: every other rank's call ends with that exception's text.")
      .def(
          "barrier",
          [](const std::shared_ptr<Fabric>& f, double timeout) {
            const std::int64_t ns = timeout_ns(timeout);
            OperationHandle handle = interruptible(
                f, [&](const collectives::Interrupted&) { return collectives::barrier(*f); });
            wait_ns(handle, ns ? ns : f->timeout_ns());
          },
          nb::arg("timeout"))
      .def(
          "rank_barrier",
          [](const std::shared_ptr<Fabric>& f, int rank, double timeout) {
            const std::int64_t ns = timeout_ns(timeout);
            OperationHandle handle = with_devices(*f, [&] {
              return interruptible(f, [&](const collectives::Interrupted& interrupted) {
                return collectives::barrier(*f, Rank(rank), ns, interrupted);
              });
            });
            wait_ns(handle, ns ? ns : f->timeout_ns());
          },
          nb::arg("rank"), nb::arg("timeout"));
}

}  // namespace weft::python
