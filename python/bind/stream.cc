// The class Stream of the extension module.
#include "python/bind/stream.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <functional>
#include <memory>
#include <string>

#include "core/base/error.h"
#include "python/bind/convert.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

void refuse_capture(Device& device, Stream stream) {
  if (!device.is_capturing(stream)) return;
  fail(ErrorCode::invalid_argument,
       "the stream is being captured into a graph: nothing has happened on it yet");
}

std::unique_ptr<StreamObject> lent_stream(nb::handle object, nb::handle device_name) {
  Device& on = device(parse_device(device_name));
  return std::make_unique<StreamObject>(on, parse_stream(object, on.id()), object);
}

void make_stream(StreamObject* self, nb::handle device_name, nb::handle priority) {
  const bool high = nb::str("high").equal(priority);
  if (!high && !nb::str("normal").equal(priority)) {
    fail(ErrorCode::invalid_argument, "priority is \"normal\" or \"high\", not ",
         repr_of(priority));
  }
  Device& on = device(parse_device(device_name));
  new (self) StreamObject(on, high ? StreamPriority::high : StreamPriority::normal);
}

bool query_stream(const StreamObject& self) {
  const Stream stream = self.get();
  const nb::gil_scoped_release released;
  refuse_capture(self.device(), stream);
  return self.device().is_idle(stream);
}

void synchronize_stream(const StreamObject& self, nb::handle timeout) {
  const Stream stream = self.get();
  OwnedEvent marker;
  {
    const nb::gil_scoped_release released;
    refuse_capture(self.device(), stream);
    marker = new_event(self.device());
    self.device().record(marker.get(), stream);
  }
  wait_for_event(self.device(), marker.get(), timeout,
                 concat("a stream of ", self.id().str(), " is still busy"));
}

nb::object record_on_stream(const StreamObject& self, nb::object event) {
  if (event.is_none()) event = nb::cast(std::make_unique<EventObject>(self.device(), false));
  const Stream stream = self.get();
  if (nb::isinstance<EventObject>(event)) {
    auto& own = nb::cast<EventObject&>(event);
    if (own.id() != self.id()) refuse_device("event", own.id(), self.id());
    own.record(stream);
    return event;
  }
  const auto foreign = parse_event(event, self.id());
  if (!foreign) {
    fail(ErrorCode::invalid_argument, repr_of(event),
         " has no handle before its first record(), which its own library must do");
  }
  const nb::gil_scoped_release released;
  self.device().record(*foreign, stream);
  return event;
}

void wait_event(const StreamObject& self, nb::handle event) {
  const auto parsed = parse_event(event, self.id());
  const Stream stream = self.get();
  const nb::gil_scoped_release released;
  if (parsed) self.device().wait(stream, *parsed);
}

std::int64_t cuda_address(const StreamObject& self) {
  if (self.id().kind == DeviceKind::cuda) return address_of(self.get());
  fail(ErrorCode::invalid_argument, "a stream of ", self.id().str(), " is no CUDA stream");
}

nb::object stream_equal(const StreamObject& self, nb::handle other) {
  if (!nb::isinstance<StreamObject>(other)) return nb::borrow(nb::handle(Py_NotImplemented));
  return nb::bool_(self.is(nb::cast<const StreamObject&>(other)));
}

// One rank's stream, for a collective.
std::int64_t rank_stream(nb::handle stream, int rank, const std::string& device) {
  try {
    return address_of(parse_stream(stream, DeviceId::parse(device)));
  } catch (const Error& error) {
    throw Error(error.code(), concat("rank ", rank, "'s stream: ", error.message()),
                {.rank = rank, .device = device});
  }
}

using StreamClass = nb::class_<StreamObject>;

void bind_handles(StreamClass& type) {
  type.def("__init__", make_stream, "device"_a, "priority"_a = "normal",
           nb::sig("def __init__(self, device: Device | str, priority: str = 'normal') -> None"))
      .def_static(
          "from_handle", lent_stream, "stream"_a, "device"_a,
          nb::sig("def from_handle(stream: object, device: Device | str) -> Stream"),
          "Another library's stream, which is kept alive, as a weft.Stream of that device.\n\n"
          "Raises InvalidArgument for what is no stream, DeviceMismatch for one that says it is "
          "of\n"
          "another device.")
      .def_prop_ro(
          "device", [](const StreamObject& s) { return s.id(); },
          nb::sig("def device(self) -> Device"), "Whose works it holds.")
      .def_prop_ro("cuda_stream", cuda_address,
                   "The cudaStream_t as an int. Raises InvalidArgument on simulated devices.")
      .def(
          "__cuda_stream__",
          [](const StreamObject& s) { return nb::make_tuple(0, cuda_address(s)); },
          nb::sig("def __cuda_stream__(self) -> tuple[int, int]"),
          "(0, the cudaStream_t as an int): the protocol by which other libraries take it.")
      .def("__eq__", stream_equal, "other"_a.none(),
           nb::sig("def __eq__(self, other: object) -> bool"))
      .def("__hash__", [](const StreamObject& s) { return std::hash<void*>()(s.get().handle); })
      .def("__repr__",
           [](const StreamObject& s) { return concat("<weft.Stream on ", s.id().str(), ">"); });
}

void bind_order(StreamClass& type) {
  type.def("query", query_stream, "Whether all that was put on it has happened. Does not block.")
      .def("synchronize", synchronize_stream, "timeout"_a.none() = nb::none(),
           nb::sig("def synchronize(self, timeout: float | None = None) -> None"),
           "Block until all that is on it now has happened.\n\n"
           "timeout: seconds; None is WEFT_TIMEOUT (30). Then CollectiveTimeout. InvalidArgument\n"
           "while the stream is being captured into a graph.")
      .def("record_event", record_on_stream, "event"_a.none() = nb::none(),
           nb::sig("def record_event(self, event: object = None) -> typing.Any"),
           "Record an event, a new weft.Event where none is given, and return it. Does not "
           "block.\n\n"
           ">>> event = weft.Stream(\"sim:0\").record_event()\n"
           ">>> event.synchronize()\n"
           ">>> event.query()\n"
           "True\n")
      .def("wait_event", wait_event, "event"_a.none(),
           nb::sig("def wait_event(self, event: object) -> None"),
           "What comes next on the stream waits for the event's last record. Does not block.\n\n"
           "event: a weft.Event of any device of the same kind or, on CUDA, one of torch, CuPy or\n"
           "cuda.core.")
      .def(
          "wait_stream",
          [](const StreamObject& s, nb::handle other) {
            order_after({s.id(), s.get()}, locate_stream(other, s.id()));
          },
          "stream"_a.none(), nb::sig("def wait_stream(self, stream: object) -> None"),
          "What comes next on the stream waits for all that is on the other one now. Does not "
          "block.");
}

}  // namespace

void bind_stream(nb::module_& module) {
  StreamClass type(
      module, "Stream",
      "Works of one device in their order; what `streams=` of the collectives takes, one a "
      "rank.\n\n"
      "device: a simulated or CUDA one. priority: \"normal\" or \"high\". A CUDA stream does not\n"
      "wait for the default stream, nor that for it. A stream that is dropped loses nothing: what\n"
      "is on it still happens; a simulated one waits for that. Not for a child after fork().\n"
      "Wherever weft takes a stream of a CUDA device it also takes other libraries': an int, or "
      "an\n"
      "object with `cuda_stream` (torch), `__cuda_stream__` (cuda.core, numba) or `ptr` (CuPy).\n\n"
      "Raises InvalidArgument, DeviceMismatch for \"cpu\", CudaError.\n\n"
      ">>> import numpy as np\n"
      ">>> streams = [weft.Stream(\"sim:0\"), weft.Stream(\"sim:1\")]\n"
      ">>> with weft.Fabric(\"sim:2\") as fab:\n"
      "...     data = [np.ones(2), np.ones(2)]\n"
      "...     for _ in range(3):  # one after the other on each stream\n"
      "...         work = fab.all_reduce(data, streams=streams, async_op=True)\n"
      "...     streams[0].wait_stream(streams[1])\n"
      "...     streams[0].synchronize()\n"
      "...     data[0].tolist(), streams[0].query()\n"
      "([8.0, 8.0], True)\n");
  bind_handles(type);
  bind_order(type);
  module.def("stream_handle", rank_stream, "stream"_a.none(), "rank"_a, "device"_a,
             "A rank's stream, for `Fabric.collective`.");
}

}  // namespace weft::python
