#include "bench/cuda/eager_options.h"

#include <charconv>
#include <functional>
#include <map>

#include "core/base/error.h"

namespace weft::bench {
namespace {

std::vector<std::string> parts(const std::string& text) {
  std::vector<std::string> found{""};
  for (const char c : text) {
    if (c == ',') {
      found.emplace_back();
    } else {
      found.back() += c;
    }
  }
  return found;
}

int whole(const std::string& flag, const std::string& text) {
  int value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value < 1) {
    fail(ErrorCode::invalid_argument, flag, " is a whole number above 0, not \"", text, "\"");
  }
  return value;
}

std::vector<std::size_t> sizes_of(const std::string& flag, const std::string& text) {
  std::vector<std::size_t> sizes;
  for (const std::string& part : parts(text)) {
    sizes.push_back(static_cast<std::size_t>(whole(flag, part)));
    if (sizes.back() % sizeof(float) != 0) {
      fail(ErrorCode::invalid_argument, flag, ": ", part, " bytes are no float32 vector");
    }
  }
  return sizes;
}

// "cuda:0,1": what has no kind has that of the one before.
std::vector<DeviceId> devices_of(const std::string& text) {
  std::vector<DeviceId> devices;
  std::string kind;
  for (const std::string& part : parts(text)) {
    const std::size_t colon = part.find(':');
    if (colon != std::string::npos) kind = part.substr(0, colon);
    devices.push_back(DeviceId::parse(colon == std::string::npos ? kind + ":" + part : part));
  }
  if (devices.size() < 2) {
    fail(ErrorCode::invalid_argument, "--devices names one device a rank, two or more, not \"",
         text, "\"; examples: cuda:0,1 and cuda:0,0");
  }
  return devices;
}

std::vector<DeviceId> default_devices() {
  const int count = device_count(DeviceKind::cuda);
  if (count == 0) {
    fail(ErrorCode::invalid_argument,
         "there is no CUDA device; --devices sim:0,1 tries the program on simulated ones");
  }
  return devices_of(count > 1 ? "cuda:0,1" : "cuda:0,0");
}

}  // namespace

const char* const kEagerUsage =
    "usage: weft_bench_eager [--devices cuda:0,1] [--nccl LIBNCCL.so.2 | --no-nccl] [--json FILE]\n"
    "         [--bytes 1024,16384,65536,1048576] [--calls 400] [--rounds 7] [--samples 5]\n"
    "         [--timeout SECONDS, of a wait] [--limit SECONDS, of the program]\n";

EagerOptions eager_options(const std::vector<std::string>& arguments) {
  EagerOptions options;
  using Take = std::function<void(const std::string& flag, const std::string& value)>;
  const auto number = [](int& target) -> Take {
    return [&target](const std::string& flag, const std::string& value) {
      target = whole(flag, value);
    };
  };
  const auto text = [](std::string& target) -> Take {
    return [&target](const std::string&, const std::string& value) { target = value; };
  };
  int timeout = 30;
  const std::map<std::string, Take> flags{
      {"--devices",
       [&](const std::string&, const std::string& value) { options.devices = devices_of(value); }},
      {"--bytes",
       [&](const std::string& flag, const std::string& v) { options.sizes = sizes_of(flag, v); }},
      {"--nccl", text(options.nccl)},
      {"--json", text(options.json)},
      {"--calls", number(options.calls)},
      {"--rounds", number(options.rounds)},
      {"--samples", number(options.samples)},
      {"--timeout", number(timeout)},
      {"--limit", number(options.limit)},
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& flag = arguments[i];
    if (flag == "--no-nccl") {
      options.without_nccl = true;
      continue;
    }
    const auto found = flags.find(flag);
    if (found == flags.end()) fail(ErrorCode::invalid_argument, "no option \"", flag, "\"");
    if (++i == arguments.size()) fail(ErrorCode::invalid_argument, flag, " needs a value");
    found->second(flag, arguments[i]);
  }
  options.timeout = timeout;
  if (options.devices.empty()) options.devices = default_devices();
  return options;
}

}  // namespace weft::bench
