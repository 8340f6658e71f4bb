#include "core/device/device.h"

#include <charconv>

#include "core/base/error.h"

namespace weft {
namespace {

[[noreturn]] void bad_name(std::string_view text) {
  fail(ErrorCode::invalid_argument, "\"", text,
       "\" names no device; a device is \"cpu\", \"sim:0\" to \"sim:", kMaxSimDevices - 1,
       "\", or \"cuda:0\" and so on");
}

}  // namespace

const char* kind_name(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::sim:
      return "sim";
    case DeviceKind::cuda:
      return "cuda";
  }
  return "?";
}

std::string DeviceId::str() const {
  if (kind == DeviceKind::cpu) return "cpu";
  return concat(kind_name(kind), ":", ordinal);
}

DeviceId DeviceId::parse(std::string_view text) {
  if (text == "cpu") return DeviceId{DeviceKind::cpu, DeviceOrdinal(0)};
  const std::size_t colon = text.find(':');
  const std::string_view kind_text = text.substr(0, colon);
  DeviceKind kind;
  if (kind_text == "sim") {
    kind = DeviceKind::sim;
  } else if (kind_text == "cuda") {
    kind = DeviceKind::cuda;
  } else {
    bad_name(text);
  }
  if (colon == std::string_view::npos) return DeviceId{kind, DeviceOrdinal(0)};
  const std::string_view digits = text.substr(colon + 1);
  int ordinal = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ordinal);
  if (error != std::errc{} || end != digits.data() + digits.size() || ordinal < 0) bad_name(text);
  return DeviceId{kind, DeviceOrdinal(ordinal)};
}

}  // namespace weft
