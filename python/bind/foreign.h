// What streams and events of other libraries say of themselves: torch, CuPy, cuda.core, numba.
//
// Nothing here calls CUDA, and no library is imported: an object is what its attributes say.
//
// Thread safety: the GIL is held by every caller.
#pragma once

#include <cstdint>
#include <optional>

#include "python/bind/bind.h"

namespace weft::python {

struct ForeignHandle {
  std::int64_t address = 0;     // a cudaStream_t or cudaEvent_t
  std::optional<int> device{};  // the ordinal of its CUDA device, where it says
};

// An int, or an object with `cuda_stream` (torch), `__cuda_stream__` (cuda.core, numba) or `ptr`
// (CuPy). Nothing: it is no stream. Throws InvalidArgument for one that is closed, speaks another
// version of the protocol, or whose handle is no address.
std::optional<ForeignHandle> foreign_stream(nb::handle object);

// An object with `cuda_event` (torch; 0 before its first record), `ptr` (CuPy) or `handle`
// (cuda.core). Nothing: it is no event. Throws InvalidArgument as above.
std::optional<ForeignHandle> foreign_event(nb::handle object);

}  // namespace weft::python
