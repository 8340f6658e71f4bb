// DLPack's C exchange API: what a tensor type offers in place of Python calls to __dlpack__. Some
// 20 us a tensor become some 100 ns. Source: DLPack 1.3, dlpack.h, DLPackExchangeAPI.
//
// Thread safety: the GIL is held by every caller.
#pragma once

#include <cstdint>
#include <optional>

#include "core/tensor/dlpack.h"
#include "core/tensor/tensor.h"
#include "python/bind/bind.h"

namespace weft::python {

// The table that a type has in `__dlpack_c_exchange_api__`.
struct ExchangeApi;

// Of the object's type; null if it has none of a version that weft knows.
const ExchangeApi* exchange_api(nb::handle object);

// Whether __dlpack__ would refuse the object with a reason, or make a copy, where the table does
// not look: a PyTorch tensor that needs a gradient, or a lazily negated one.
bool refuses_lending(nb::handle object);

// A tensor that owns a share of the object's memory. Nothing is ordered: what the producer has put
// on its current stream may still be under way. Throws what the producer raised, DTypeMismatch and
// the rest as dlpack::from_dlpack.
Tensor import_by_exchange(const ExchangeApi& api, nb::handle object);

// What the object is, without a share of it; false if the table has no such function. Throws what
// the producer raised.
bool view_by_exchange(const ExchangeApi& api, nb::handle object, dlpack::View& view);

// The stream that the producer works on now, on that CUDA device: a cudaStream_t as a number.
// Nothing if it does not say.
std::optional<std::int64_t> current_stream(const ExchangeApi& api, int ordinal);

}  // namespace weft::python
