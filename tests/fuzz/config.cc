// Fuzz target: environments of any names and values, written as the system keeps them: NAME=VALUE,
// a NUL between two.
//
// What must hold
//   1. Nothing is thrown but Error(config), and that where there is a problem: the first one.
//   2. A problem tells variable, value and what is allowed, and leaves the default in force; values
//      are what their text says, and within what their row allows. A variable that is there twice
//      counts once, the first.
//   3. A value that was taken, printed, is taken again and is the same.
//   4. Unknown WEFT_* variables, and they alone, are warned about, once each.
//   5. All texts that come out are UTF-8: Python could not show others.
#include "core/base/config.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "tests/fuzz/target.h"

namespace weft::fuzz {
namespace {

// The rows of the table call these; each makes a test of a value.
[[maybe_unused]] auto any() {
  return [](const auto&) { return true; };
}
[[maybe_unused]] auto above(double low) {
  return [=](auto value) { return value > low; };
}
[[maybe_unused]] auto above_to(double low, double high) {
  return [=](auto value) { return value > low && value <= high; };
}
[[maybe_unused]] auto at_least(double low) {
  return [=](auto value) { return value >= low; };
}
[[maybe_unused]] auto between(double low, double high) {
  return [=](auto value) { return value >= low && value <= high; };
}
[[maybe_unused]] auto one_of(std::string_view choices) {
  return [=](const std::string& value) {
    return (' ' + std::string(choices) + ' ').find(' ' + value + ' ') != std::string::npos;
  };
}

// Of the Unicode standard's table of well-formed sequences (3-7): the first bytes, how many
// follow, and which the second may be.
struct Sequences {
  std::uint8_t first, last;
  int following;
  std::uint8_t low, high;
};
constexpr std::array<Sequences, 9> kUtf8{{
    {0x00, 0x7f, 0, 0x80, 0xbf},
    {0xc2, 0xdf, 1, 0x80, 0xbf},
    {0xe0, 0xe0, 2, 0xa0, 0xbf},
    {0xe1, 0xec, 2, 0x80, 0xbf},
    {0xed, 0xed, 2, 0x80, 0x9f},
    {0xee, 0xef, 2, 0x80, 0xbf},
    {0xf0, 0xf0, 3, 0x90, 0xbf},
    {0xf1, 0xf3, 3, 0x80, 0xbf},
    {0xf4, 0xf4, 3, 0x80, 0x8f},
}};

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto head = static_cast<std::uint8_t>(text[i++]);
    const auto* row = std::ranges::find_if(
        kUtf8, [=](const Sequences& one) { return one.first <= head && head <= one.last; });
    if (row == kUtf8.end()) return false;
    std::uint8_t low = row->low;
    std::uint8_t high = row->high;
    for (int k = 0; k < row->following; ++k, ++i) {
      if (i == text.size()) return false;
      const auto byte = static_cast<std::uint8_t>(text[i]);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

std::string printed(bool value) { return value ? "true" : "false"; }
std::string printed(const std::string& value) { return value; }
template <class Number>
std::string printed(Number value) {
  std::array<char, 64> text;
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), result.ptr};
}

// Whether the whole of a text spells a value, by what C makes of it.
bool spells(const std::string& text, std::int64_t value) {
  char* end = nullptr;
  return std::strtoll(text.c_str(), &end, 10) == value && *end == '\0';
}
bool spells(const std::string& text, double value) {
  char* end = nullptr;
  return std::isfinite(value) && std::strtod(text.c_str(), &end) == value && *end == '\0';
}
bool spells(const std::string& text, bool value) {
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string words = value ? " 1 true yes on " : " 0 false no off ";
  return words.find(' ' + lower + ' ') != std::string::npos;
}
bool spells(const std::string& text, const std::string& value) {
  return text == value && is_utf8(value);
}

Environment environment_of(std::string_view text) {
  Environment all;
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const std::size_t equals = entry.find('=');
    const std::string_view value = equals < entry.size() ? entry.substr(equals + 1) : "";
    all.emplace_back(entry.substr(0, equals), value);
  }
  return all;
}

const ParsedConfig::Problem* problem_of(const ParsedConfig& parsed, std::string_view name) {
  for (const ParsedConfig::Problem& problem : parsed.problems) {
    if (problem.name == name) return &problem;
  }
  return nullptr;
}

template <class Value, class Allowed>
void check_row(const char* name, Value Config::* field, const Allowed& allowed,
               const ParsedConfig& parsed, const std::map<std::string, std::string>& given) {
  const Value& value = parsed.values.*field;
  const Value initial = Config().*field;
  const auto found = given.find(name);
  const bool is_set = found != given.end() && !found->second.empty();
  if (const ParsedConfig::Problem* problem = problem_of(parsed, name)) {
    require(is_set, "what is not set is no problem");
    require(value == initial, "a problem leaves the default in force");
    require(problem->message.starts_with(std::string(name) + " is '"), "the variable is named");
    require(problem->message.find("', but must be ") != std::string::npos, "so is what is allowed");
    const std::string quoted = "'" + found->second + "'";
    require(!is_utf8(quoted) || problem->message.find(quoted) != std::string::npos,
            "so is the value");
    return;
  }
  if (!is_set) {
    require(value == initial, "what is not set has its default");
    return;
  }
  require(spells(found->second, value), "a value is what its text says");
  require(allowed(value), "a value that was taken is allowed");
  const ParsedConfig again = parse_config({{name, printed(value)}});
  require(again.values.*field == value, "a value that was taken goes round");
}

void check_table(const ParsedConfig& parsed, const std::map<std::string, std::string>& given) {
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning) \
  check_row(name, &Config::field, allowed, parsed, given);
#include "core/base/config.def"
#undef WEFT_CONFIG
}

std::set<std::string> known_names() {
  std::set<std::string> names;
  for (const char* name : build_variables()) names.insert(name);
#define WEFT_CONFIG(field, name, type, initial, allowed, audience, meaning) names.insert(name);
#include "core/base/config.def"
#undef WEFT_CONFIG
  return names;
}

void check_messages(const ParsedConfig& parsed, const std::map<std::string, std::string>& given) {
  static const std::set<std::string> known = known_names();
  std::size_t unknown = 0;
  for (const auto& [name, value] : given) {
    if (!name.starts_with("WEFT_") || known.contains(name)) continue;
    ++unknown;
    const auto names_it = [&](const std::string& warning) {
      return warning.find(name) != std::string::npos;
    };
    require(!is_utf8(name) || std::ranges::any_of(parsed.warnings, names_it),
            "an unknown variable is named");
  }
  require(parsed.warnings.size() == unknown, "each unknown variable is warned about once");
  std::set<std::string> names;
  for (const ParsedConfig::Problem& problem : parsed.problems) {
    require(known.contains(problem.name), "problems are of known variables");
    require(names.insert(problem.name).second, "a variable has one problem");
    require(is_utf8(problem.message), "a problem's message is UTF-8");
  }
  for (const std::string& warning : parsed.warnings) require(is_utf8(warning), "so are warnings");
}

void check_parsing(const Environment& environment, const ParsedConfig& examined) {
  try {
    parse_config(environment);
    require(examined.problems.empty(), "a problem is thrown");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::config, "as Error(config)");
    require(!examined.problems.empty(), "only a problem is thrown");
    require(error.message() == examined.problems.front().message, "the first one");
  }
}

}  // namespace
}  // namespace weft::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace weft::fuzz;
  const auto environment = environment_of({reinterpret_cast<const char*>(data), size});
  const weft::ParsedConfig parsed = weft::examine_config(environment);
  // The first of each name, as getenv() finds it.
  const std::map<std::string, std::string> given(environment.begin(), environment.end());
  check_table(parsed, given);
  check_messages(parsed, given);
  check_parsing(environment, parsed);
  return 0;
}
