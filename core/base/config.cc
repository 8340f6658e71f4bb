#include "core/base/config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>

#include "core/base/error.h"

namespace weft {
namespace {

constexpr std::string_view kPrefix = "WEFT_";
constexpr std::array<const char*, 2> kBuildVariables = {"WEFT_CUDA", "WEFT_CUDA_ARCHITECTURES"};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What a row allows beyond its type. The rows call the functions below by name; a table need not
// use all of them.
struct Allowed {
  double low = -kInfinity;
  double high = kInfinity;
  bool low_itself = true;
  std::string_view choices{};
};
[[maybe_unused]] constexpr Allowed any() { return {}; }
[[maybe_unused]] constexpr Allowed above(double low) { return {low, kInfinity, false, {}}; }
[[maybe_unused]] constexpr Allowed above_to(double low, double high) {
  return {low, high, false, {}};
}
[[maybe_unused]] constexpr Allowed at_least(double low) { return {low, kInfinity, true, {}}; }
[[maybe_unused]] constexpr Allowed between(double low, double high) {
  return {low, high, true, {}};
}
[[maybe_unused]] constexpr Allowed one_of(std::string_view choices) {
  return {-kInfinity, kInfinity, true, choices};
}
enum class Audience { user, internal };

// Of the character that `text` begins with, as UTF-8; 0 where none does.
std::size_t character_bytes(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? unsigned{static_cast<unsigned char>(text[i])} : 0u;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // Keeps out spellings that are too long, surrogates, and what lies beyond Unicode.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (lead < 0xc2 || lead > 0xf4 || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < bytes; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return bytes;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bytes = character_bytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

// The text, if it is UTF-8; else with \xNN for every byte that is not ASCII.
std::string printable(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      escaped += c;
    } else {
      escaped += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return escaped;
}

std::string range_text(const char* noun, const Allowed& allowed) {
  std::string text = noun;
  const bool limited = std::isfinite(allowed.high);
  if (std::isfinite(allowed.low) && allowed.low_itself && limited) {
    text += concat(" from ", allowed.low, " to ", allowed.high);
  } else if (std::isfinite(allowed.low)) {
    text += concat(allowed.low_itself ? " of at least " : " above ", allowed.low);
    if (limited) text += concat(" and at most ", allowed.high);
  }
  return text;
}

bool in_range(double value, const Allowed& allowed) {
  return std::isfinite(value) && value <= allowed.high &&
         (allowed.low_itself ? value >= allowed.low : value > allowed.low);
}

bool is_choice(std::string_view text, std::string_view choices) {
  if (choices.empty()) return true;
  if (text.empty() || text.find(' ') != std::string_view::npos) return false;
  return concat(' ', choices, ' ').find(concat(' ', text, ' ')) != std::string::npos;
}

template <class Number>
std::optional<Number> parse_number(const std::string& text, const Allowed& allowed) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  if (!in_range(static_cast<double>(value), allowed)) return std::nullopt;
  return value;
}

std::optional<bool> parse_value(const std::string& text, const Allowed&, bool) {
  std::string lower = text;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const char* yes : {"1", "true", "yes", "on"}) {
    if (lower == yes) return true;
  }
  for (const char* no : {"0", "false", "no", "off"}) {
    if (lower == no) return false;
  }
  return std::nullopt;
}
std::optional<std::int64_t> parse_value(const std::string& text, const Allowed& allowed,
                                        std::int64_t) {
  return parse_number<std::int64_t>(text, allowed);
}
std::optional<double> parse_value(const std::string& text, const Allowed& allowed, double) {
  return parse_number<double>(text, allowed);
}
std::optional<std::string> parse_value(const std::string& text, const Allowed& allowed,
                                       const std::string&) {
  if (!is_choice(text, allowed.choices)) return std::nullopt;
  return text;
}

std::string allowed_text(const Allowed&, bool) { return "1, true, yes, on, 0, false, no or off"; }
std::string allowed_text(const Allowed& allowed, std::int64_t) {
  return range_text("an integer", allowed);
}
std::string allowed_text(const Allowed& allowed, double) {
  return range_text("a finite number", allowed);
}
std::string allowed_text(const Allowed& allowed, const std::string&) {
  return allowed.choices.empty() ? "any text" : concat("one of: ", allowed.choices);
}

template <class Value>
void assign(Value& field, const char* name, const std::string& text, const Allowed& allowed,
            std::vector<ParsedConfig::Problem>& problems) {
  if (text.empty()) return;
  if (!is_utf8(text)) {
    problems.push_back({name, concat(name, " is '", printable(text), "', but must be UTF-8")});
    return;
  }
  if (const std::optional<Value> value = parse_value(text, allowed, field)) {
    field = *value;
  } else {
    problems.push_back(
        {name, concat(name, " is '", text, "', but must be ", allowed_text(allowed, field))});
  }
}

// Whether the table has a variable of that name; if so, its value is now `text`, or a problem.
bool assign_by_name(ParsedConfig& parsed, const std::string& variable, const std::string& text) {
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning) \
  if (variable == name) {                                                   \
    assign(parsed.values.field, name, text, allowed, parsed.problems);      \
    return true;                                                            \
  }
#include "core/base/config.def"
#undef WEFT_CONFIG
  return false;
}

std::vector<std::string> known_names() {
  std::vector<std::string> names(kBuildVariables.begin(), kBuildVariables.end());
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning) names.push_back(name);
#include "core/base/config.def"
#undef WEFT_CONFIG
  return names;
}

// Levenshtein's distance: insertions, deletions and substitutions of one character.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string unknown_warning(const std::string& variable) {
  std::string nearest;
  std::size_t least = 4;  // more than three edits are another word
  for (const std::string& name : known_names()) {
    if (variable.size() >= name.size() + least) continue;  // whose distance would take long
    const std::size_t distance = edit_distance(variable, name);
    if (distance < least) {
      least = distance;
      nearest = name;
    }
  }
  const std::string hint = nearest.empty() ? "" : concat("; did you mean ", nearest, "?");
  return concat("unknown environment variable ", printable(variable), hint);
}

Environment process_environment() {
  Environment all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || !text.starts_with(kPrefix)) continue;
    all.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return all;
}

const ParsedConfig& process_config() {
  // Never destroyed: worker threads may read it while the process ends.
  static const ParsedConfig* const parsed = new ParsedConfig(parse_config(process_environment()));
  return *parsed;
}

// What is in force; where nothing is, because of a problem, what the environment holds now.
ParsedConfig values_to_show() {
  try {
    return process_config();
  } catch (const Error&) {
    return examine_config(process_environment());
  }
}

std::string problem_of(const ParsedConfig& parsed, std::string_view name) {
  for (const ParsedConfig::Problem& problem : parsed.problems) {
    if (problem.name == name) return problem.message;
  }
  return {};
}

}  // namespace

ParsedConfig examine_config(const Environment& environment) {
  ParsedConfig parsed;
  std::set<std::string_view> seen;
  for (const auto& [name, text] : environment) {
    if (!name.starts_with(kPrefix) || !seen.insert(name).second) continue;
    if (std::find(kBuildVariables.begin(), kBuildVariables.end(), name) != kBuildVariables.end()) {
      continue;
    }
    if (!assign_by_name(parsed, name, text)) {
      parsed.warnings.push_back(unknown_warning(name));
    }
  }
  return parsed;
}

ParsedConfig parse_config(const Environment& environment) {
  ParsedConfig parsed = examine_config(environment);
  if (!parsed.problems.empty()) fail(ErrorCode::config, parsed.problems.front().message);
  return parsed;
}

std::span<const char* const> build_variables() { return kBuildVariables; }

const Config& config() { return process_config().values; }

const std::vector<std::string>& config_warnings() { return process_config().warnings; }

std::string foreign_variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<ConfigEntry> config_entries() {
  const Config defaults;
  const ParsedConfig parsed = values_to_show();
  const Config& values = parsed.values;
  std::vector<ConfigEntry> entries;
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning)               \
  entries.push_back({name, #type, defaults.field, values.field, problem_of(parsed, name), \
                     allowed_text(allowed, defaults.field), meaning,                      \
                     Audience::audience == Audience::internal});
#include "core/base/config.def"
#undef WEFT_CONFIG
  return entries;
}

}  // namespace weft
