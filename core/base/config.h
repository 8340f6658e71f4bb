// The run-time variables of weft: one table (config.def), read once, at first use.
//
// Invariants
//   1. A value that its row does not allow is Error(config), naming variable, value and what is
//      allowed; only config_entries() shows it instead. An empty variable counts as not set.
//   2. An unknown WEFT_* variable changes nothing but config_warnings().
//   3. Of a variable that is there twice the first counts, as for the C library.
//   4. Arguments of the API win over variables; this is the callers' part.
//
// Thread-safe, provided nobody changes the environment during the first use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace weft {

namespace config_type {
using boolean = bool;
using integer = std::int64_t;
using real = double;
using text = std::string;
using choice = std::string;
}  // namespace config_type

struct Config {
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning) \
  config_type::type field = initial;
#include "core/base/config.def"
#undef WEFT_CONFIG
};

// One variable as `weft config` shows it.
struct ConfigEntry {
  using Value = std::variant<bool, std::int64_t, double, std::string>;

  std::string name;
  std::string type;     // "boolean", "integer", "real", "text" or "choice"
  Value initial;        // the default
  Value value;          // in force; the default where there is a problem
  std::string problem;  // why what the environment holds cannot be used; empty: it can
  std::string allowed;
  std::string meaning;
  bool internal = false;
};

struct ParsedConfig {
  struct Problem {
    std::string name;     // of the variable
    std::string message;  // with name, value and what is allowed
  };
  Config values;
  std::vector<std::string> warnings;  // one an unknown variable
  std::vector<Problem> problems;      // one an unusable value
};

// Name and value of each variable; those that do not start with WEFT_ are ignored.
using Environment = std::vector<std::pair<std::string, std::string>>;
// Unusable values are in `problems` and leave the default in force.
ParsedConfig examine_config(const Environment& environment);
// The same, but throws the first problem as Error(config).
ParsedConfig parse_config(const Environment& environment);

// Names that only the build reads; never unknown, never parsed here.
std::span<const char* const> build_variables();

// Of this process. Both throw Error(config) as long as the environment holds an unusable value.
const Config& config();
const std::vector<std::string>& config_warnings();
// A variable that is not weft's, as it is now; empty where it is not set.
std::string foreign_variable(const char* name);
// Every row of the table; never throws Error(config).
std::vector<ConfigEntry> config_entries();

}  // namespace weft
