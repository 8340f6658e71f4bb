// The class Event of the extension module.
#include <nanobind/stl/string.h>

#include <string>

#include "core/base/error.h"
#include "python/bind/convert.h"
#include "python/bind/stream.h"

using namespace nanobind::literals;

namespace weft::python {
namespace {

void make_event(EventObject* self, nb::handle device_name, bool enable_timing) {
  new (self) EventObject(device(parse_device(device_name)), enable_timing);
}

void record_event(EventObject& self, nb::handle stream) {
  const LocatedStream on = locate_or_default(stream, self.id());
  if (on.device != self.id()) refuse_device("stream", on.device, self.id());
  self.record(on.stream);
}

void wait_on(const EventObject& self, nb::handle stream) {
  const LocatedStream on = locate_or_default(stream, self.id());
  const Event event = self.get();
  const nb::gil_scoped_release released;
  device(on.device).wait(on.stream, event);
}

bool query_event(const EventObject& self) {
  const Event event = self.get();
  const nb::gil_scoped_release released;
  return self.device().query(event);
}

double elapsed_ms(const EventObject& start, const EventObject& end) {
  for (const EventObject* event : {&start, &end}) {
    if (!event->timed() || !event->recorded()) {
      fail(ErrorCode::invalid_argument, "elapsed_time needs two events with enable_timing=True ",
           "that have been recorded");
    }
    if (!query_event(*event)) {
      fail(ErrorCode::invalid_argument, "an event has not happened yet; synchronize() with it");
    }
  }
  if (start.id() != end.id()) refuse_device("other event", end.id(), start.id());
  const nb::gil_scoped_release released;
  return 1e-3 * start.device().elapsed_us(start.get(), end.get());
}

std::int64_t cuda_event(const EventObject& self) {
  if (self.id().kind == DeviceKind::cuda) {
    return static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(self.get().handle));
  }
  fail(ErrorCode::invalid_argument, "an event of ", self.id().str(), " is no CUDA event");
}

}  // namespace

void bind_event(nb::module_& module) {
  nb::class_<EventObject>(
      module, "Event",
      "A point in the works of a stream, which other streams and the host can wait for.\n\n"
      "device: a simulated or CUDA one; only its streams record the event. enable_timing: for\n"
      "`elapsed_time`. An event that was never recorded has happened. Not for a child after\n"
      "fork(). Raises what weft.Stream raises.\n\n"
      ">>> first, second = weft.Stream(\"sim:0\"), weft.Stream(\"sim:1\")\n"
      ">>> event = weft.Event(\"sim:0\")\n"
      ">>> event.record(first)\n"
      ">>> event.wait(second)  # second goes on after what is on first\n"
      ">>> second.synchronize()\n"
      ">>> event.query()\n"
      "True\n")
      .def("__init__", make_event, "device"_a, "enable_timing"_a = false,
           nb::sig("def __init__(self, device: Device | str, enable_timing: bool = False) -> None"))
      .def_prop_ro(
          "device", [](const EventObject& e) { return e.id(); },
          nb::sig("def device(self) -> Device"), "Whose streams record it.")
      .def_prop_ro("cuda_event", cuda_event,
                   "The cudaEvent_t as an int. Raises InvalidArgument on simulated devices.")
      .def("record", record_event, "stream"_a.none() = nb::none(),
           nb::sig("def record(self, stream: object = None) -> None"),
           "Record it on a stream of its device; None: CUDA's default stream. Does not block.\n\n"
           "Raises DeviceMismatch, InvalidArgument for None on simulated devices.")
      .def("wait", wait_on, "stream"_a.none() = nb::none(),
           nb::sig("def wait(self, stream: object = None) -> None"),
           "What comes next on the stream, of any device of the same kind, waits for the last\n"
           "record. None: CUDA's default stream of the event's device. Does not block.")
      .def("query", query_event, "Whether the last record has happened. Does not block.")
      .def(
          "synchronize",
          [](const EventObject& e, nb::handle timeout) {
            wait_for_event(e.device(), e.get(), timeout,
                           concat("an event of ", e.id().str(), " has not happened"));
          },
          "timeout"_a.none() = nb::none(),
          nb::sig("def synchronize(self, timeout: float | None = None) -> None"),
          "Block until the last record has happened.\n\n"
          "timeout: seconds; None is WEFT_TIMEOUT (30). Then CollectiveTimeout.")
      .def("elapsed_time", elapsed_ms, "end"_a,
           "Milliseconds from this event to a later one, by the device's clock; on simulated\n"
           "devices by the host's.\n\n"
           "Raises InvalidArgument unless both have enable_timing=True and have happened.\n\n"
           ">>> stream = weft.Stream(\"sim:0\")\n"
           ">>> start, end = (weft.Event(\"sim:0\", enable_timing=True) for _ in range(2))\n"
           ">>> start.record(stream), end.record(stream), stream.synchronize()\n"
           "(None, None, None)\n"
           ">>> start.elapsed_time(end) >= 0\n"
           "True\n")
      .def("__repr__", [](const EventObject& e) {
        return concat("<weft.Event of ", e.id().str(), e.timed() ? ", timed>" : ">");
      });
}

}  // namespace weft::python
