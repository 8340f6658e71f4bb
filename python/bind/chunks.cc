// Traces of single chunks. See collectives/chunks.h.
#include "collectives/chunks.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <memory>

#include "python/bind/operation.h"

namespace weft::python {
namespace {

using fabric::ChunkRecord;
using fabric::Fabric;

nb::bytes bytes_of(const std::vector<ChunkRecord>& records) {
  return nb::bytes(records.data(), records.size() * sizeof(ChunkRecord));
}

nb::dict stop_chunks(Fabric& fabric) {
  collectives::ChunkTrace trace;
  {
    const nb::gil_scoped_release released;
    trace = collectives::stop_chunks(fabric);
  }
  nb::dict row;
  row["records"] = bytes_of(trace.records);
  row["dropped"] = trace.dropped;
  row["residual_ns"] = trace.residual_ns;
  row["clock"] = trace.clock == ClockSource::device ? "device" : "host";
  row["predicted"] = bytes_of(trace.predicted);
  row["predicted_dropped"] = trace.predicted_dropped;
  return row;
}

}  // namespace

void bind_chunks(nb::class_<Fabric>& type) {
  type.def("start_chunks", collectives::start_chunks, nb::call_guard<nb::gil_scoped_release>(),
           "From now on operations record what each chunk does; see weft.chunks.")
      .def("stop_chunks", stop_chunks, "What was recorded, as records of 64 bytes.");
}

}  // namespace weft::python
