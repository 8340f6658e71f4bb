// The table that "auto" goes by, as lists of dicts.
#pragma once

#include "fabric/fabric.h"
#include "python/bind/bind.h"

namespace weft::python {

void bind_tuning(nb::module_& module, nb::class_<fabric::Fabric>& type);

}  // namespace weft::python
