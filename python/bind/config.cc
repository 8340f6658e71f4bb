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
          row["allowed"] = entry.allowed;
          row["meaning"] = entry.meaning;
          row["internal"] = entry.internal;
          rows.append(row);
        }
        return rows;
      },
      "Every run-time variable: name, type, default, value, allowed, meaning, internal.\n\n"
      "Raises ConfigError for an unusable value in the environment.");
  module.def(
      "config_warnings", [] { return config_warnings(); },
      "One sentence for each unknown WEFT_* variable in the environment.");
}

}  // namespace weft::python
