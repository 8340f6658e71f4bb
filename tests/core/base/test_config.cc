// The table of run-time variables: what is parsed, what is refused, what is only warned about.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "core/base/config.h"
#include "core/base/error.h"

namespace weft {
namespace {

Config parsed(const std::string& name, const std::string& value) {
  return parse_config({{name, value}}).values;
}

std::string refusal(const std::string& name, const std::string& value) {
  try {
    parsed(name, value);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::config);
    return error.message();
  }
  return "accepted";
}

std::string warning(const std::string& name) {
  const ParsedConfig all = parse_config({{name, "1"}});
  REQUIRE(all.warnings.size() == 1);
  return all.warnings[0];
}

}  // namespace

TEST_CASE("examining tells every unusable value and leaves the defaults in force") {
  const ParsedConfig all = examine_config(
      {{"WEFT_TIMEOUT", "soon"}, {"WEFT_DEVICES", "sim:2"}, {"WEFT_EVENTS", "perhaps"}});
  REQUIRE(all.problems.size() == 2);
  CHECK(all.problems[0].name == "WEFT_TIMEOUT");
  CHECK(all.problems[0].message == refusal("WEFT_TIMEOUT", "soon"));
  CHECK(all.problems[1].name == "WEFT_EVENTS");
  CHECK(all.values.timeout == 30.0);
  CHECK(all.values.events);
  CHECK(all.values.devices == "sim:2");
  CHECK(examine_config({{"WEFT_TIMEOUT", "3"}}).problems.empty());
}

TEST_CASE("an empty environment gives the table's defaults") {
  const ParsedConfig all = parse_config({});
  CHECK(all.values.timeout == 30.0);
  CHECK(all.values.devices == "");
  CHECK(all.values.sim_topology == "hgx-h200");
  CHECK(all.values.sim_seed == 0);
  CHECK(all.values.events);
  CHECK(all.warnings.empty());
}

TEST_CASE("values of every type are taken") {
  CHECK(parsed("WEFT_TIMEOUT", "0.25").timeout == 0.25);
  CHECK(parsed("WEFT_TIMEOUT", "1e3").timeout == 1000.0);
  CHECK(parsed("WEFT_DEVICES", "cuda:0x2,1x2").devices == "cuda:0x2,1x2");
  CHECK(parsed("WEFT_SIM_SEED", "9223372036854775807").sim_seed == INT64_MAX);
  for (const char* no : {"0", "false", "No", "OFF"}) CHECK_FALSE(parsed("WEFT_EVENTS", no).events);
  for (const char* yes : {"1", "True", "yes", "on"}) CHECK(parsed("WEFT_EVENTS", yes).events);
}

TEST_CASE("an empty value counts as not set") {
  CHECK(parsed("WEFT_TIMEOUT", "").timeout == 30.0);
  CHECK(parsed("WEFT_SIM_TOPOLOGY", "").sim_topology == "hgx-h200");
}

TEST_CASE("garbage is an error that names variable, value and what is allowed") {
  CHECK(refusal("WEFT_TIMEOUT", "soon") ==
        "WEFT_TIMEOUT is 'soon', but must be a finite number above 0 and at most 1e+09");
  CHECK(refusal("WEFT_SIM_SEED", "-1") ==
        "WEFT_SIM_SEED is '-1', but must be an integer of at least 0");
  CHECK(refusal("WEFT_EVENTS", "maybe") ==
        "WEFT_EVENTS is 'maybe', but must be 1, true, yes, on, 0, false, no or off");
}

TEST_CASE("what is no UTF-8 is an error, and shown as bytes") {
  CHECK(refusal("WEFT_DEVICES", "sim:\xff") == "WEFT_DEVICES is 'sim:\\xff', but must be UTF-8");
  // Cut off, spelt too long, a surrogate, beyond Unicode: Python would read none of them.
  for (const char* bad : {"\x80", "\xe2\x82", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
                          "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80"}) {
    CAPTURE(bad);
    CHECK(refusal("WEFT_DEVICES", bad) != "accepted");
    CHECK(warning(concat("WEFT_", bad)).find("\\x") != std::string::npos);
  }
  for (const char* good :
       {"\xc3\xbc", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(parsed("WEFT_DEVICES", good).devices == good);
  }
}

TEST_CASE("of a variable that is there twice the first counts") {
  const ParsedConfig good = examine_config({{"WEFT_TIMEOUT", "5"}, {"WEFT_TIMEOUT", "soon"}});
  CHECK(good.values.timeout == 5.0);
  CHECK(good.problems.empty());
  const ParsedConfig bad = examine_config({{"WEFT_TIMEOUT", "soon"}, {"WEFT_TIMEOUT", "5"}});
  CHECK(bad.values.timeout == 30.0);
  CHECK(bad.problems.size() == 1);
  CHECK(examine_config({{"WEFT_X", "1"}, {"WEFT_X", "1"}}).warnings.size() == 1);
}

TEST_CASE("nothing but a whole number in range is a number") {
  for (const char* bad :
       {"0", "-1", "inf", "nan", "1e999", "1s", " 1", "1 ", "0x10", "1,5", "+1"}) {
    CAPTURE(bad);
    CHECK(refusal("WEFT_TIMEOUT", bad) != "accepted");
  }
  for (const char* bad : {"1.0", "1e3", "9223372036854775808", "seven", "1 2"}) {
    CAPTURE(bad);
    CHECK(refusal("WEFT_SIM_SEED", bad) != "accepted");
  }
}

TEST_CASE("an unknown variable is a warning with the nearest name") {
  CHECK(warning("WEFT_TIMOUT") ==
        "unknown environment variable WEFT_TIMOUT; did you mean WEFT_TIMEOUT?");
  CHECK(warning("WEFT_DEVICE") ==
        "unknown environment variable WEFT_DEVICE; did you mean WEFT_DEVICES?");
  CHECK(warning("WEFT_SOMETHING_ELSE") == "unknown environment variable WEFT_SOMETHING_ELSE");
}

TEST_CASE("other programs' variables and the build's are left alone") {
  CHECK(parse_config({{"PATH", "/bin"}, {"XWEFT_TIMEOUT", "x"}}).warnings.empty());
  for (const char* name : build_variables()) CHECK(parse_config({{name, "x"}}).warnings.empty());
}

TEST_CASE("entries list the whole table with what is in force") {
  const auto entries = config_entries();
  REQUIRE_FALSE(entries.empty());
  CHECK(entries[0].name == "WEFT_TIMEOUT");
  CHECK(entries[0].type == "real");
  CHECK(std::get<double>(entries[0].initial) == 30.0);
  CHECK(std::get<double>(entries[0].value) == config().timeout);
  CHECK(entries[0].allowed == "a finite number above 0 and at most 1e+09");
  int users = 0;
  std::set<std::string> names;
  for (const ConfigEntry& entry : entries) {
    CAPTURE(entry.name);
    CHECK(names.insert(std::string(entry.name)).second);
    CHECK(parse_config({{std::string(entry.name), ""}}).warnings.empty());
    CHECK(entry.initial.index() == entry.value.index());
    CHECK_FALSE(entry.meaning.empty());
    users += entry.internal ? 0 : 1;
  }
  CHECK(users <= 12);
}

}  // namespace weft
