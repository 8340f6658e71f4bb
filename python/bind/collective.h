// Collectives as Python calls them: tensors of any library, options in a dict.
//
// Thread safety: the GIL is held by every caller, and released while ranks meet and launch.
#pragma once

#include "fabric/fabric.h"
#include "python/bind/bind.h"

namespace weft::python {

void bind_collectives(nb::class_<fabric::Fabric>& type);

}  // namespace weft::python
