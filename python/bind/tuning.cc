#include "python/bind/tuning.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <vector>

#include "collectives/collectives.h"
#include "collectives/tuner.h"
#include "python/bind/convert.h"

namespace weft::python {
namespace {

using collectives::Collective;
using collectives::TuningRow;
using fabric::Fabric;

collectives::DTypeClass parse_dtypes(const std::string& text) {
  std::string list;
  for (std::size_t i = 0; i < std::size(collectives::kDTypeClassNames); ++i) {
    if (text == collectives::kDTypeClassNames[i]) return static_cast<collectives::DTypeClass>(i);
    list += concat(list.empty() ? "" : ", ", collectives::kDTypeClassNames[i]);
  }
  fail(ErrorCode::invalid_argument, "no class of dtypes is called \"", text, "\"; there are ",
       list);
}

// A row for this fabric. Python has checked the types.
TuningRow row_of(const Fabric& fabric, const nb::dict& given) {
  TuningRow row;
  row.generation = collectives::generation_of(fabric);
  row.ranks = fabric.world().value();
  row.collectives =
      collectives::only(collectives::parse_collective(nb::cast<std::string>(given["collective"])));
  row.dtypes = parse_dtypes(nb::cast<std::string>(given["dtypes"]));
  row.captured = nb::cast<std::optional<bool>>(given["captured"]);
  row.in_place = nb::cast<std::optional<bool>>(given["in_place"]);
  row.from = nb::cast<std::int64_t>(given["from_bytes"]);
  const auto end = nb::cast<std::optional<std::int64_t>>(given["up_to_bytes"]);
  row.up_to = end.value_or(collectives::kNoEnd);
  row.algorithm = collectives::parse_algorithm(nb::cast<std::string>(given["algorithm"]));
  row.blocks = nb::cast<std::int32_t>(given["blocks"]);
  return row;
}

void set_tuning(Fabric& fabric, const nb::list& rows) {
  std::vector<TuningRow> measured;
  for (const nb::handle row : rows) measured.push_back(row_of(fabric, nb::cast<nb::dict>(row)));
  collectives::set_tuning(fabric, measured);
}

nb::list collectives_of(const TuningRow& row) {
  nb::list names;
  for (int c = 0; c <= static_cast<int>(Collective::send_recv); ++c) {
    const auto collective = static_cast<Collective>(c);
    if ((row.collectives & collectives::only(collective)) != 0) {
      names.append(collectives::name(collective));
    }
  }
  return names;
}

// Of each device once; none for simulated ones.
std::vector<std::string> gpu_names(const Fabric& fabric) {
  std::vector<std::string> names;
  std::vector<DeviceId> seen;
  for (int r = 0; r < fabric.world().value() && fabric.backend() == DeviceKind::cuda; ++r) {
    const Device& device = fabric.device(Rank(r));
    if (std::find(seen.begin(), seen.end(), device.id()) != seen.end()) continue;
    seen.push_back(device.id());
    names.push_back(device.name());
  }
  return names;
}

nb::list tuning(const Fabric& fabric) {
  const auto table = collectives::tuning(fabric);
  nb::list rows;
  for (const TuningRow& row : table->rows) {
    nb::dict entry;
    entry["collectives"] = collectives_of(row);
    entry["dtypes"] = collectives::kDTypeClassNames[static_cast<std::size_t>(row.dtypes)];
    entry["captured"] = nb::cast(row.captured);
    entry["in_place"] = nb::cast(row.in_place);
    entry["from_bytes"] = row.from;
    entry["up_to_bytes"] = row.up_to == collectives::kNoEnd ? nb::none() : nb::cast(row.up_to);
    entry["algorithm"] = collectives::name(row.algorithm);
    entry["blocks"] = row.blocks;
    entry["measured"] = row.measured;
    rows.append(entry);
  }
  return rows;
}

std::vector<std::string> preference(const Fabric& fabric, const std::string& collective,
                                    nb::handle dtype, std::int64_t bytes, bool captured,
                                    bool in_place, bool shipped) {
  const collectives::TuningCall call{.collective = collectives::parse_collective(collective),
                                     .floating = is_floating(parse_dtype(dtype)),
                                     .captured = captured,
                                     .in_place = in_place,
                                     .bytes = bytes};
  const collectives::TuningTable own =
      collectives::make_table(collectives::generation_of(fabric), fabric.world().value(), {});
  std::vector<std::string> names;
  for (const auto algorithm :
       collectives::preference(shipped ? own : *collectives::tuning(fabric), call)) {
    names.emplace_back(collectives::name(algorithm));
  }
  return names;
}

}  // namespace

void bind_tuning(nb::module_& module, nb::class_<Fabric>& type) {
  module.def(
      "algorithms",
      [] {
        std::vector<std::string> names;
        for (int a = 1; a <= static_cast<int>(collectives::Algorithm::hierarchical); ++a) {
          names.emplace_back(collectives::name(static_cast<collectives::Algorithm>(a)));
        }
        return names;
      },
      "The names of all algorithms but \"auto\".");
  module.def(
      "collectives",
      [] {
        std::vector<std::string> names;
        for (int c = 0; c <= static_cast<int>(Collective::send_recv); ++c) {
          names.emplace_back(collectives::name(static_cast<Collective>(c)));
        }
        return names;
      },
      "The names of all collectives.");
  type.def("set_tuning", set_tuning, nb::arg("rows"),
           "Rows that were measured, before the shipped ones; instead of those of an earlier call.")
      .def_prop_ro("gpu_names", gpu_names, "Of each device once; none for simulated ones.")
      .def("tuning", tuning, "The table in force, in order of preference.")
      .def("preference", preference, nb::arg("collective"), nb::arg("dtype"), nb::arg("bytes"),
           nb::arg("captured"), nb::arg("in_place"), nb::arg("shipped"),
           "The algorithms that \"auto\" tries for a call, by the table in force or by the shipped "
           "rows alone.");
}

}  // namespace weft::python
