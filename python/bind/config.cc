// The configuration table.
#include "core/base/config.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "python/bind/bind.h"

namespace weft::python {

void bind_config(nb::module_& module) {
  module.def(
      "config",
      [] {
        nb::list rows;
        for (const ConfigEntry& entry : config_entries()) {
          nb::dict row;
          row["name"] = entry.name;
          row["type"] = entry.type;
          row["default"] = nb::cast(entry.initial);
          row["value"] = nb::cast(entry.value);
          row["problem"] = entry.problem.empty() ? nb::none() : nb::cast(entry.problem);
          row["allowed"] = entry.allowed;
          row["meaning"] = entry.meaning;
          row["internal"] = entry.internal;
          rows.append(row);
        }
        return rows;
      },
      "Every run-time variable: name, type, default, value, problem, allowed, meaning, "
      "internal.\n\n"
      "problem: why the environment's value is unusable, or None; value is then the default.");
  module.def(
      "config_warnings", [] { return config_warnings(); },
      "One sentence for each unknown WEFT_* variable in the environment.");
}

}  // namespace weft::python
