// The run-time variables of weft: one table (config.def), read once, at first use.
//
// Invariants
//   1. A value that its row does not allow is Error(config), naming variable, value and what is
//      allowed. A variable that is empty counts as not set.
//   2. An unknown WEFT_* variable changes nothing but config_warnings().
//   3. Arguments of the API win over variables; this is the callers' part.
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
  std::string type;  // "boolean", "integer", "real", "text" or "choice"
  Value initial;     // the default
  Value value;       // in force
  std::string allowed;
  std::string meaning;
  bool internal = false;
};

struct ParsedConfig {
  Config values;
  std::vector<std::string> warnings;  // one an unknown variable
};

// Name and value of each variable; those that do not start with WEFT_ are ignored.
using Environment = std::vector<std::pair<std::string, std::string>>;
ParsedConfig parse_config(const Environment& environment);

// Names that only the build reads; never unknown, never parsed here.
std::span<const char* const> build_variables();

// Of this process. All throw Error(config) as long as the environment holds an unusable value.
const Config& config();
const std::vector<std::string>& config_warnings();
std::vector<ConfigEntry> config_entries();

}  // namespace weft
