// Buckets (a list of tensors for each rank) as Python gives them.
//
// Thread safety: the GIL is held by every caller.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "collectives/collectives.h"
#include "python/bind/bind.h"

namespace weft::python {

// Is this a list (or tuple) of tensors, and not one tensor?
bool is_tensor_list(nb::handle object);

// One rank's tensors. Producers are ordered before `consumer`, the rank's stream.
collectives::TensorList import_list(nb::handle list, Stream consumer);

// A list for each rank, checked: a bucket ready to run. Without `out` it is in place. `streams` are
// the ranks', or none. Where the tensors' type has DLPack's C functions, this takes well under a
// microsecond a tensor, and the checks of the last few buckets are not done again.
std::shared_ptr<collectives::Bucket> import_bucket(fabric::Fabric& fabric, const nb::list& tensors,
                                                   const std::optional<nb::list>& out,
                                                   const std::vector<Stream>& streams);

}  // namespace weft::python
