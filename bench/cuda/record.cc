#include "bench/cuda/record.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fstream>
#include <string_view>

#include "bench/cuda/version.h"
#include "topology/probe/probe.h"
#include "topology/topology.h"

namespace weft::bench {
namespace {

constexpr const char* kNull = "null";

std::string quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (code < 0x20) {
      out += "\\u00";
      out += {kHex[code >> 4], kHex[code & 15]};
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string known(const std::string& text) { return text.empty() ? kNull : quoted(text); }

// Not by a stream: the user's locale must not choose the decimal sign.
template <class Number>
std::string number(Number value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return std::string(text.data(), end);
}

std::string number(const std::optional<std::int64_t>& value) {
  return value ? number(*value) : kNull;
}

std::string list(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + quoted(text);
  return "[" + out + "]";
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string cpu() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

std::string cuda() {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) return "";
  return number(version / 1000) + "." + number(version % 1000 / 10);
}

std::string machine_json() {
  const topology::Topology found = topology::probe();
  std::vector<std::string> gpus;
  for (int i = 0; i < found.size(); ++i) gpus.push_back(found.node(i).name);
  return "{\"gpus\": " + list(gpus) + ", \"cpu\": " + known(cpu()) +
         ", \"driver\": " + known(first_line("/sys/module/nvidia/version")) +
         ", \"cuda\": " + known(cuda()) + "}";
}

std::string date() {
  std::array<char, 32> text{};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S+00:00", &utc);
  return text.data();
}

std::vector<double> samples_of(const EagerRow& row) {
  std::vector<double> samples;
  for (const auto& round : row.rounds) samples.insert(samples.end(), round.begin(), round.end());
  std::sort(samples.begin(), samples.end());
  return samples;
}

// The smallest sample that is at least as large as `percent` per cent of them.
double percentile(const std::vector<double>& sorted, std::size_t percent) {
  if (sorted.empty()) return 0;
  return sorted[std::max<std::size_t>((sorted.size() * percent + 99) / 100, 1) - 1];
}

std::string row_json(const EagerRow& row, const std::vector<std::string>& devices) {
  const std::vector<double> samples = samples_of(row);
  const double time = row.time_us();
  const double algbw = time > 0 ? 1e-3 * static_cast<double>(row.bytes) / time : 0;
  const auto ranks = static_cast<double>(devices.size());
  const std::string pairs[][2] = {
      {"impl", quoted(row.impl)},
      {"collective", quoted("all_reduce")},
      {"algo", quoted(row.algorithm)},
      {"dtype", quoted("float32")},
      {"op", quoted("sum")},
      {"bytes", number(row.bytes)},
      {"count", number(row.bytes / sizeof(float))},
      {"root", "-1"},
      {"ranks", number(devices.size())},
      {"devices", list(devices)},
      {"in_place", row.in_place ? "true" : "false"},
      {"mode", quoted("eager")},
      {"clock", quoted("host")},
      {"cache", quoted("hot")},
      {"language", quoted("C++")},
      {"iterations", number(row.calls)},
      {"samples", number(samples.size())},
      {"time_us", number(time)},
      {"p50_us", number(percentile(samples, 50))},
      {"p99_us", number(percentile(samples, 99))},
      {"spread_us", number(row.spread_us())},
      {"rounds", number(row.rounds.size())},
      {"algbw_gbps", number(algbw)},
      {"busbw_gbps", number(algbw * 2 * (ranks - 1) / ranks)},
      {"pct_peak", kNull},
      {"blocks", number(row.blocks)},
      {"scratch_bytes", number(row.scratch_bytes)},
      {"wrong", number(row.wrong)},
      {"predicted", "false"},
      {"predicted_us", kNull},
  };
  std::string out;
  for (const auto& [name, value] : pairs) {
    out += (out.empty() ? "" : ", ") + quoted(name) + ": " + value;
  }
  return "{" + out + "}";
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double EagerRow::time_us() const { return median(samples_of(*this)); }

double EagerRow::spread_us() const {
  std::vector<double> medians;
  for (const auto& round : rounds) medians.push_back(median(round));
  if (medians.empty()) return 0;
  const auto [low, high] = std::minmax_element(medians.begin(), medians.end());
  return *high - *low;
}

std::string json_of(const EagerRecord& record) {
  std::string rows;
  for (const EagerRow& row : record.rows) {
    rows += (rows.empty() ? "\n    " : ",\n    ") + row_json(row, record.devices);
  }
  const std::string versions =
      record.nccl.empty() ? "{}"
                          : "{\"nccl\": " + quoted(record.nccl) + ", \"NCCL_NVLS_ENABLE\": \"0\"}";
  return "{\n  \"schema\": \"weft.bench/1\",\n  \"command\": " + list(record.command) +
         ",\n  \"date\": " + quoted(date()) + ",\n  \"weft\": " + quoted(kVersion) +
         ",\n  \"versions\": " + versions + ",\n  \"machine\": " + machine_json() +
         ",\n  \"link\": {\"copy_engine_bidir_gbps\": null, \"copy_engine_gbps\": null}" +
         ",\n  \"rows\": [" + rows + "\n  ]\n}\n";
}

}  // namespace weft::bench
