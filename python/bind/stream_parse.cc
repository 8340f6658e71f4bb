// Which stream an object stands for, and waiting for one.
#include <utility>

#include "core/base/config.h"
#include "core/base/error.h"
#include "python/bind/convert.h"
#include "python/bind/foreign.h"
#include "python/bind/operation.h"
#include "python/bind/stream.h"

namespace weft::python {

void check_process(pid_t process, const char* what) {
  if (process == getpid()) return;
  fail(ErrorCode::invalid_argument, "the ", what,
       " was made before fork(), by another process; make one in this process");
}

void refuse_device(const char* what, DeviceId is, DeviceId wanted) {
  throw Error(
      ErrorCode::device_mismatch,
      concat("the ", what, " is of ", is.str(), ", and one of ", wanted.str(), " is needed"),
      {.device = wanted.str()});
}

std::int64_t address_of(Stream stream) {
  return static_cast<std::int64_t>(reinterpret_cast<std::intptr_t>(stream.handle));
}

LocatedStream locate_stream(nb::handle object, DeviceId here) {
  if (nb::isinstance<StreamObject>(object)) {
    const auto& stream = nb::cast<const StreamObject&>(object);
    if (stream.id().kind != here.kind) refuse_device("stream", stream.id(), here);
    return {stream.id(), stream.get()};
  }
  if (here.kind != DeviceKind::cuda) {
    fail(ErrorCode::invalid_argument, "a stream of ", here.str(),
         " is a weft.Stream made on it, not ", repr_of(object));
  }
  const auto foreign = foreign_stream(object);
  if (!foreign) {
    fail(ErrorCode::invalid_argument, "a stream is a weft.Stream, an int, or has cuda_stream, ",
         "__cuda_stream__ or ptr, and ", repr_of(object), " is none of these");
  }
  if (foreign->device) here.ordinal = DeviceOrdinal(*foreign->device);
  return {here, {reinterpret_cast<void*>(static_cast<std::intptr_t>(foreign->address))}};
}

LocatedStream locate_or_default(nb::handle object, DeviceId here) {
  if (!object.is_none()) return locate_stream(object, here);
  if (here.kind == DeviceKind::cuda) return {here, {}};
  fail(ErrorCode::invalid_argument, here.str(), " has no default stream; give one");
}

Stream parse_stream(nb::handle object, DeviceId device) {
  const LocatedStream located = locate_stream(object, device);
  if (located.device != device) refuse_device("stream", located.device, device);
  return located.stream;
}

std::optional<Event> parse_event(nb::handle object, DeviceId waits) {
  if (nb::isinstance<EventObject>(object)) {
    const auto& event = nb::cast<const EventObject&>(object);
    if (event.id().kind != waits.kind) refuse_device("event", event.id(), waits);
    return event.get();
  }
  const bool on_cuda = waits.kind == DeviceKind::cuda;
  const auto foreign = on_cuda ? foreign_event(object) : std::nullopt;
  if (!foreign) {
    fail(ErrorCode::invalid_argument, "an event of ", waits.str(), " is a weft.Event",
         on_cuda ? ", or has cuda_event, ptr or handle" : "", ", and ", repr_of(object), " is not");
  }
  if (foreign->address == 0) return std::nullopt;
  return Event{reinterpret_cast<void*>(static_cast<std::intptr_t>(foreign->address))};
}

void order_after(const LocatedStream& later, const LocatedStream& earlier) {
  Device& source = device(earlier.device);
  const nb::gil_scoped_release released;
  const OwnedEvent marker = new_event(source);
  source.record(marker.get(), earlier.stream);
  device(later.device).wait(later.stream, marker.get());
}

void wait_for_event(Device& device, Event event, nb::handle timeout, const std::string& busy) {
  const nb::object seconds =
      nb::module_::import_("weft._errors").attr("seconds_or_default")(timeout, config().timeout);
  const std::int64_t limit_ns = timeout_ns(nb::cast<double>(seconds));
  const bool happened = wait_interruptibly(
      Deadline::after_ns(limit_ns),
      [&](Deadline slice) { return device.synchronize(event, slice); }, [] {});
  if (happened) return;
  throw Error(ErrorCode::collective_timeout,
              concat(busy, " after ", static_cast<double>(limit_ns) * 1e-9, " s of waiting"),
              {.device = device.id().str()});
}

}  // namespace weft::python
